"""Reads of the database: on a replica that has what is needed, else on the primary."""

from collections.abc import Callable
from contextlib import closing
from http import HTTPStatus
from typing import TypeVar

from sqlalchemy.exc import DBAPIError

from campshub.core.cache.memory import Kept
from campshub.core.db.session import Behind, Entered, Session, Unit, begin, commit, is_gone
from campshub.core.db.unit import PRIMARY_ALONE
from campshub.core.freshness import replicas
from campshub.core.freshness.protocol import Asked
from campshub.core.http import caller_state, responses
from campshub.core.http.context import Call, Known
from campshub.core.http.responses import Finished
from campshub.core.observe import metrics

T = TypeVar("T")


def read(call: Call, asked: Asked, *, is_admitted: bool) -> Finished:
    """Run a handler that reads, and finish its answer.

    :raises SessionEnded: the token is from before a sign-out, a new password or the loss of the membership.
    """

    def work(session: Session) -> Finished:
        if not is_admitted:
            call.admit(session.unit.entered)
        finished = responses.finish(call, call.run(session))
        metrics.read_done(session.unit.server)
        return finished

    return _on_a_server(call, asked, call.unit.on(checks_caller=not is_admitted), work)


def learn(call: Call, asked: Asked) -> bool:
    """Read the caller's state and keep it, once for all who need it at the same time; tell whether it is known now."""
    services, claims = call.services, call.claims
    if claims is None:
        return False
    with services.answers.flight(asked.caller_key) as (flight, leads):
        if leads:
            entered: Entered | None = _on_a_server(
                call, asked, call.unit, lambda session: session.unit.entered, is_about_caller=True
            )
            found = caller_state.caller_of(asked.caller_key, claims.caller, entered, call.unit.now) if entered else None
            if found is not None and not asked.is_unverified:
                services.callers.put(claims.organization, claims.caller, found)
                wire = services.freshness.wire_of(claims.organization)
                services.answers.put(wire, asked.caller_key, found.packed(), caller_state.LIFE_S)
                flight.found = found
        return flight.found is not None


def _on_a_server(
    call: Call, asked: Asked, unit: Unit, work: Callable[[Session], T], *, is_about_caller: bool = False
) -> T:
    """Do a read's work on a replica that has replayed what is needed, else on the primary.

    Where the primary cannot be reached, on a replica that may lack what was written last; the answer is marked so.

    :raises Behind: what is asked as the primary has become a standby, and no replica is known.
    """
    servers = call.services.replicas
    # Of what a handler reads nothing is known where it names no tags; then only the primary is sure to have it.
    is_named = is_about_caller or call.handler.mark.keeping is not None or asked.is_unverified
    replica = servers.choose(unit, asked) if is_named else None
    if replica is not None:
        try:
            with replica.reading(unit, asked.position) as lent:
                return _on(lent, work)
        except Behind:
            pass
        except DBAPIError as error:
            if not replicas.may_ask_primary(error):
                raise
        unit.apart.clear()  # the handler will hand it over again
    try:
        with servers.spilled(unit):
            return _on(unit if asked.is_unverified else unit.on(needed_lsn=PRIMARY_ALONE), work)
    except (Behind, DBAPIError) as error:
        replica = servers.choose_any(unit) if isinstance(error, Behind) or is_gone(error) else None
        if replica is None:
            raise
    unit.apart.clear()
    asked.is_unverified = True
    with replica.reading(unit, "") as lent:
        return _on(lent, work)


def _on(unit: Unit, work: Callable[[Session], T]) -> T:
    with closing(begin(unit)) as session:
        if unit.entered is not None and not unit.entered.fresh:
            raise Behind
        done = work(session)
        commit(session)
    return done


def find(call: Call, known: Known) -> Finished | Kept:
    """Return the answer of a call that has been admitted, if anything is known of who calls.

    :raises SessionEnded: nothing was known, and the token is from before a sign-out or the loss of the membership.
    """
    if known.kept is not None:
        return known.kept
    if known.place is None:
        return read(call, known.asked, is_admitted=known.caller is not None)
    with call.services.answers.flight(known.asked.answer_key) as (flight, leads):
        if not leads and flight.found is not None:
            found: Kept = flight.found
            return found
        finished = read(call, known.asked, is_admitted=True)
        flight.found = _keep(call, known, finished)
        return finished


def _keep(call: Call, known: Known, finished: Finished) -> Kept | None:
    """Keep what was read, unless nobody knows how fresh it is."""
    if known.asked.is_unverified or finished.status != HTTPStatus.OK or call.claims is None:
        return None
    services, life_s = call.services, call.services.life_s(call.handler.mark)
    kept = Kept(known.asked.answer_key, finished.body, finished.etag, finished.link)
    services.answers.memory.put(known.place, kept, life_s)
    services.answers.store(services.freshness.wire_of(call.claims.organization), kept, life_s)
    return kept
