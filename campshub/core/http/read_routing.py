"""Routing of reads: to a replica that has replayed the needed writes, else to the primary."""

from collections.abc import Callable
from contextlib import closing
from http import HTTPStatus
from typing import TypeVar

from sqlalchemy.exc import DBAPIError

from campshub.core.cache.memory import CachedResponse
from campshub.core.cache.values import RequestValues
from campshub.core.db.session import CallerRow, ReplicaBehind, Session, Unit, begin, commit, is_gone
from campshub.core.db.unit import PRIMARY_ONLY
from campshub.core.freshness import replicas
from campshub.core.freshness.protocol import LookupReply
from campshub.core.http import caller_state, responses
from campshub.core.http.context import Lookup, RequestContext
from campshub.core.http.responses import RenderedResponse
from campshub.core.observe import metrics

T = TypeVar("T")


def _run(
    context: RequestContext, reply: LookupReply, *, is_authorized: bool, values: RequestValues | None = None
) -> RenderedResponse:
    """Run an endpoint that reads, and render its response.

    :param values: the cached values that it may use.
    :raises SessionEnded: the token was issued before a sign-out, a new password or the end of the membership.
    """

    def work(session: Session) -> RenderedResponse:
        if not is_authorized:
            context.authorize(session.unit.caller_row)
        rendered = responses.render(context, context.run(session))
        metrics.count_read(session.unit.server)
        return rendered

    unit = context.unit.on(checks_caller=not is_authorized, values=values)
    return _run_on_server(context, reply, unit, work)


def load_caller_state(context: RequestContext, reply: LookupReply) -> bool:
    """Read the caller's state from the database and cache it; return whether it is known now.

    Concurrent requests of a caller share one read.
    """
    services, claims = context.services, context.claims
    if claims is None:
        return False
    with services.response_cache.flight(reply.caller_key) as (flight, is_leader):
        if is_leader:
            caller_row: CallerRow | None = _run_on_server(
                context, reply, context.unit, lambda session: session.unit.caller_row, is_about_caller=True
            )
            found = (
                caller_state.caller_of(reply.caller_key, claims.caller, caller_row, context.unit.now)
                if caller_row
                else None
            )
            if found is not None and not reply.is_unverified:
                services.caller_states.put(claims.organization, claims.caller, found)
                connection = services.freshness.redis_of(claims.organization)
                services.response_cache.put(connection, reply.caller_key, found.packed(), caller_state.TTL_S)
                flight.found = found
        return flight.found is not None


def _run_on_server(
    context: RequestContext,
    reply: LookupReply,
    unit: Unit,
    work: Callable[[Session], T],
    *,
    is_about_caller: bool = False,
) -> T:
    """Run a read on a replica that has replayed the needed writes, else on the primary.

    If the primary is unavailable, run it on a replica that may lack the latest writes; then set ``is_unverified``.

    :raises ReplicaBehind: the server that is configured as the primary is a standby, and no replica is available.
    """
    servers = context.services.replicas
    # What an endpoint without tags reads is unknown, so only the primary certainly has it.
    has_tags = is_about_caller or context.endpoint.options.cache_policy is not None or reply.is_unverified
    replica = servers.choose(unit, reply) if has_tags else None
    if replica is not None:
        try:
            with replica.reading(unit, reply.position) as borrowed:
                return _on(borrowed, work)
        except ReplicaBehind:
            pass
        except DBAPIError as error:
            if not replicas.may_run_on_primary(error):
                raise
        unit.separate_writes.clear()  # the endpoint runs again and adds them again
    try:
        with servers.spilled(unit):
            return _on(unit if reply.is_unverified else unit.on(needed_lsn=PRIMARY_ONLY), work)
    except (ReplicaBehind, DBAPIError) as error:
        replica = servers.choose_any(unit) if isinstance(error, ReplicaBehind) or is_gone(error) else None
        if replica is None:
            raise
    unit.separate_writes.clear()
    reply.is_unverified = True
    with replica.reading(unit.on(values=None), "") as borrowed:
        return _on(borrowed, work)


def _on(unit: Unit, work: Callable[[Session], T]) -> T:
    with closing(begin(unit)) as session:
        if unit.caller_row is not None and not unit.caller_row.fresh:
            raise ReplicaBehind
        result = work(session)
        commit(session)
    return result


def render(context: RequestContext, lookup: Lookup) -> RenderedResponse | CachedResponse:
    """Run the endpoint on a server that has the stamps; concurrent requests for one response share a run.

    The caller must be authorized already, unless the lookup did not find their state.

    :raises SessionEnded: the token was issued before a sign-out or the end of the membership.
    """
    if lookup.cache_key is None:
        return _run(context, lookup.reply, is_authorized=lookup.caller is not None)
    with context.services.response_cache.flight(lookup.reply.response_key) as (flight, is_leader):
        if not is_leader and flight.found is not None:
            found: CachedResponse = flight.found
            return found
        rendered = _run(context, lookup.reply, is_authorized=True, values=_values(context, lookup))
        flight.found = _store(context, lookup, rendered)
        return rendered


def _values(context: RequestContext, lookup: Lookup) -> RequestValues | None:
    """Return the cached values that a request with a trusted lookup may use; None if it is unverified."""
    services, request, reply = context.services, lookup.request, lookup.reply
    if reply.is_unverified:
        return None
    # The stamp of access comes first. It is no part of the response's key, unless the endpoint names its tag.
    names = request.stamps[1:]
    ttl_s = services.ttl_s(context.endpoint.options)
    return RequestValues(services.value_cache, ttl_s, reply.response_key, request.digest, names)


def _store(context: RequestContext, lookup: Lookup, rendered: RenderedResponse) -> CachedResponse | None:
    """Cache a response, unless it is unverified."""
    if lookup.reply.is_unverified or rendered.status != HTTPStatus.OK or context.claims is None:
        return None
    services, ttl_s = context.services, context.services.ttl_s(context.endpoint.options)
    cached = CachedResponse(lookup.reply.response_key, rendered.body, rendered.etag, rendered.link)
    services.response_cache.memory.put(lookup.cache_key, cached, ttl_s)
    services.response_cache.store(services.freshness.redis_of(context.claims.organization), cached, ttl_s)
    return cached
