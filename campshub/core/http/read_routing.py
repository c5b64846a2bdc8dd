"""Reads of the database: on a replica that has what is needed, else on the primary."""

from collections.abc import Callable
from contextlib import closing
from http import HTTPStatus
from typing import TypeVar

from sqlalchemy.exc import DBAPIError

from campshub.core.cache.memory import CachedResponse
from campshub.core.db.session import CallerRow, ReplicaBehind, Session, Unit, begin, commit, is_gone
from campshub.core.db.unit import PRIMARY_ALONE
from campshub.core.freshness import replicas
from campshub.core.freshness.protocol import LookupReply
from campshub.core.http import caller_state, responses
from campshub.core.http.context import Lookup, RequestContext
from campshub.core.http.responses import RenderedResponse
from campshub.core.observe import metrics

T = TypeVar("T")


def read(context: RequestContext, asked: LookupReply, *, is_admitted: bool) -> RenderedResponse:
    """Run a handler that reads, and finish its answer.

    :raises SessionEnded: the token is from before a sign-out, a new password or the loss of the membership.
    """

    def work(session: Session) -> RenderedResponse:
        if not is_admitted:
            context.admit(session.unit.caller_row)
        finished = responses.finish(context, context.run(session))
        metrics.read_done(session.unit.server)
        return finished

    return _on_a_server(context, asked, context.unit.on(checks_caller=not is_admitted), work)


def learn(context: RequestContext, asked: LookupReply) -> bool:
    """Read the caller's state and keep it, once for all who need it at the same time; tell whether it is known now."""
    services, claims = context.services, context.claims
    if claims is None:
        return False
    with services.response_cache.flight(asked.caller_key) as (flight, leads):
        if leads:
            caller_row: CallerRow | None = _on_a_server(
                context, asked, context.unit, lambda session: session.unit.caller_row, is_about_caller=True
            )
            found = (
                caller_state.caller_of(asked.caller_key, claims.caller, caller_row, context.unit.now)
                if caller_row
                else None
            )
            if found is not None and not asked.is_unverified:
                services.caller_states.put(claims.organization, claims.caller, found)
                wire = services.freshness.redis_of(claims.organization)
                services.response_cache.put(wire, asked.caller_key, found.packed(), caller_state.LIFE_S)
                flight.found = found
        return flight.found is not None


def _on_a_server(
    context: RequestContext,
    asked: LookupReply,
    unit: Unit,
    work: Callable[[Session], T],
    *,
    is_about_caller: bool = False,
) -> T:
    """Do a read's work on a replica that has replayed what is needed, else on the primary.

    Where the primary cannot be reached, on a replica that may lack what was written last; the answer is marked so.

    :raises ReplicaBehind: what is asked as the primary has become a standby, and no replica is known.
    """
    servers = context.services.replicas
    # Of what a handler reads nothing is known where it names no tags; then only the primary is sure to have it.
    is_named = is_about_caller or context.endpoint.options.cache_policy is not None or asked.is_unverified
    replica = servers.choose(unit, asked) if is_named else None
    if replica is not None:
        try:
            with replica.reading(unit, asked.position) as lent:
                return _on(lent, work)
        except ReplicaBehind:
            pass
        except DBAPIError as error:
            if not replicas.may_ask_primary(error):
                raise
        unit.separate_writes.clear()  # the handler will hand it over again
    try:
        with servers.spilled(unit):
            return _on(unit if asked.is_unverified else unit.on(needed_lsn=PRIMARY_ALONE), work)
    except (ReplicaBehind, DBAPIError) as error:
        replica = servers.choose_any(unit) if isinstance(error, ReplicaBehind) or is_gone(error) else None
        if replica is None:
            raise
    unit.separate_writes.clear()
    asked.is_unverified = True
    with replica.reading(unit, "") as lent:
        return _on(lent, work)


def _on(unit: Unit, work: Callable[[Session], T]) -> T:
    with closing(begin(unit)) as session:
        if unit.caller_row is not None and not unit.caller_row.fresh:
            raise ReplicaBehind
        done = work(session)
        commit(session)
    return done


def find(context: RequestContext, known: Lookup) -> RenderedResponse | CachedResponse:
    """Return the answer of a call that has been admitted, if anything is known of who calls.

    :raises SessionEnded: nothing was known, and the token is from before a sign-out or the loss of the membership.
    """
    if known.cached is not None:
        return known.cached
    if known.place is None:
        return read(context, known.asked, is_admitted=known.caller is not None)
    with context.services.response_cache.flight(known.asked.answer_key) as (flight, leads):
        if not leads and flight.found is not None:
            found: CachedResponse = flight.found
            return found
        finished = read(context, known.asked, is_admitted=True)
        flight.found = _keep(context, known, finished)
        return finished


def _keep(context: RequestContext, known: Lookup, finished: RenderedResponse) -> CachedResponse | None:
    """Keep what was read, unless nobody knows how fresh it is."""
    if known.asked.is_unverified or finished.status != HTTPStatus.OK or context.claims is None:
        return None
    services, life_s = context.services, context.services.ttl_s(context.endpoint.options)
    cached = CachedResponse(known.asked.answer_key, finished.body, finished.etag, finished.link)
    services.response_cache.memory.put(known.place, cached, life_s)
    services.response_cache.store(services.freshness.redis_of(context.claims.organization), cached, life_s)
    return cached
