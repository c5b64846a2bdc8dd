"""Reads of the database: on a replica that has what is needed, else on the primary."""

from collections.abc import Callable
from contextlib import closing
from typing import TypeVar

from sqlalchemy.exc import DBAPIError

from campshub.core.db import replicas
from campshub.core.db.freshness import Asked
from campshub.core.db.session import Behind, Entered, Session, Unit, begin, commit, is_gone
from campshub.core.db.unit import PRIMARY_ALONE
from campshub.core.http import answers, callers
from campshub.core.http.answers import Finished
from campshub.core.http.call import Call
from campshub.core.observe import metrics

T = TypeVar("T")


def read(call: Call, asked: Asked, *, is_admitted: bool) -> Finished:
    """Run a handler that reads, and finish its answer.

    :raises SessionEnded: the token is from before a sign-out, a new password or the loss of the membership.
    """

    def work(session: Session) -> Finished:
        if not is_admitted:
            call.admit(session.unit.entered)
        finished = answers.finish(call, call.run(session))
        metrics.read_done(session.unit.server)
        return finished

    return _on_a_server(call, asked, call.unit.on(checks_caller=not is_admitted), work)


def learn(call: Call, asked: Asked) -> bool:
    """Read the caller's state and keep it, once for all who need it at the same time; tell whether it is known now."""
    platform, claims = call.platform, call.claims
    if claims is None:
        return False
    with platform.answers.flight(asked.caller_key) as (flight, leads):
        if leads:
            entered: Entered | None = _on_a_server(
                call, asked, call.unit, lambda session: session.unit.entered, is_about_caller=True
            )
            found = callers.caller_of(asked.caller_key, claims.caller, entered, call.unit.now) if entered else None
            if found is not None and not asked.is_unverified:
                platform.callers.put(claims.organization, claims.caller, found)
                wire = platform.freshness.wire_of(claims.organization)
                platform.answers.put(wire, asked.caller_key, found.packed(), callers.LIFE_S)
                flight.found = found
        return flight.found is not None


def _on_a_server(
    call: Call, asked: Asked, unit: Unit, work: Callable[[Session], T], *, is_about_caller: bool = False
) -> T:
    """Do a read's work on a replica that has replayed what is needed, else on the primary.

    Where the primary cannot be reached, on a replica that may lack what was written last; the answer is marked so.

    :raises Behind: what is asked as the primary has become a standby, and no replica is known.
    """
    servers = call.platform.replicas
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
