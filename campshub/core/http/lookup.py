"""One Redis call per request: rate limits, caller state, stamps and the cached response."""

from functools import lru_cache

from flask import g, request

from campshub.core.freshness.protocol import IN_MEMORY, LookupReply, LookupRequest
from campshub.core.http import caller_state, read_routing
from campshub.core.http.context import Lookup, RequestContext
from campshub.core.http.endpoint import Endpoint
from campshub.core.http.services import HttpServices
from campshub.core.redis.connection import CacheUnavailable
from campshub.core.security.principal import stamp_names
from campshub.core.security.tokens import Claims

ACCESS = "access"
LOOKUP = "campshub.lookup"


def look_up_and_count(
    services: HttpServices, claims: Claims, endpoint: Endpoint, tags: tuple[str, ...], digest: str, seconds: int
) -> Lookup:
    """Look up everything that a read needs, and count the request, in one round trip.

    :param tags: those of the response.
    :param digest: the hash of path and parameters in the key of a cached response; empty if responses are not cached.
    :param seconds: when the request arrived, in seconds since 1970.
    """
    found = _prepare(services, claims, endpoint, tags, digest, seconds)
    return _evaluate(services, endpoint, found, _send(services, found.request, claims))


def look_up(context: RequestContext) -> Lookup:
    """Return the lookup of a request, which the fast path may have made already.

    :raises RateLimited: the caller has used up a limit.
    """
    claims, services, endpoint = context.claims, context.services, context.endpoint
    if claims is None:
        return Lookup(LookupRequest("", ""))
    digest, tags = context.digest(), context.arguments.tags
    seconds = int(context.unit.now.timestamp())
    found: Lookup = request.environ.pop(LOOKUP, None) or look_up_and_count(
        services, claims, endpoint, tags, digest, seconds
    )
    _check_limits(services, found.reply, claims)
    if found.reply.is_trusted and found.caller is None and read_routing.load_caller_state(context, found.reply):
        # Redis did not have the caller's state. Now it has, so a second lookup can find a cached response.
        try:
            found = _uncounted(context, claims, digest, seconds)
        except CacheUnavailable:
            found = _prepare(services, claims, endpoint, tags, digest, seconds)
    if found.request.seconds != seconds:
        # The fast path looked up in an earlier second; since then the date may have changed, and with it the response.
        found.cache_key = None
    if found.cache_key is not None:
        endpoint.cache_metrics.count(found=found.cached, in_memory=found.candidate)
    return found


def look_up_uncounted(context: RequestContext) -> Lookup:
    """Return the lookup of a read of cache warming: no client has sent it, so no limit counts it.

    :raises CacheUnavailable: Redis does not respond.
    """
    claims, digest, seconds = context.claims, context.digest(), int(context.unit.now.timestamp())
    if claims is None:
        return Lookup(LookupRequest("", ""))
    found = _uncounted(context, claims, digest, seconds)
    if found.reply.is_trusted and found.caller is None and read_routing.load_caller_state(context, found.reply):
        found = _uncounted(context, claims, digest, seconds)
    return found


def _uncounted(context: RequestContext, claims: Claims, digest: str, seconds: int) -> Lookup:
    """Look up without counting the request.

    :raises CacheUnavailable: Redis does not respond.
    """
    found = _prepare(context.services, claims, context.endpoint, context.arguments.tags, digest, seconds)
    return _evaluate(context.services, context.endpoint, found, context.services.freshness.look_up(found.request, None))


def count(services: HttpServices, claims: Claims) -> None:
    """Count a request that needs nothing else from Redis, such as a write.

    :raises RateLimited: the caller has used up a limit.
    """
    found: Lookup | None = request.environ.pop(LOOKUP, None)
    reply = found.reply if found else _send(services, LookupRequest(claims.organization, claims.caller), claims)
    _check_limits(services, reply, claims)


def _check_limits(services: HttpServices, reply: LookupReply, claims: Claims) -> None:
    """Refuse a caller who has used up a limit; without Redis, count in this process.

    :raises RateLimited: the caller has used up a limit.
    """
    limits = services.caller_limits
    plan = limits.plan(claims.requests_per_hour)
    state = limits.state_of(reply.rate_limits) if reply.rate_limits else limits.count_here(claims.caller, plan)
    if not state.allowed:
        raise limits.refusal(state, plan)
    g.limits = limits.headers(state, plan)


def _prepare(
    services: HttpServices, claims: Claims, endpoint: Endpoint, tags: tuple[str, ...], digest: str, seconds: int
) -> Lookup:
    """Return the lookup request of a read, with the caller state and the response that this process has cached.

    Redis compares both with its stamps, and returns only what differs or is missing.
    """
    cache_policy = endpoint.options.cache_policy
    if digest and cache_policy is not None and not cache_policy.same_for_role:
        digest = f"{digest}:{claims.caller}"
    # Needed also if the response is not cached: the stamps decide which replica may serve the read.
    stamps = stamps_of(claims.organization, tags)
    caller = services.caller_states.get(claims.organization, claims.caller, seconds)
    if caller is None:
        return Lookup(LookupRequest(claims.organization, claims.caller, stamps, seconds, digest=digest))
    view = caller.view(seconds)
    candidate = services.response_cache.memory.get((claims.organization, view, digest)) if digest else None
    key = candidate.key if candidate else b""
    lookup_request = LookupRequest(claims.organization, claims.caller, stamps, seconds, caller.key, view, digest, key)
    return Lookup(lookup_request, caller=caller, candidate=candidate)


@lru_cache(maxsize=10_000)
def stamps_of(organization: str, tags: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of a response's stamps: ``access`` first, and the platform's too for tags of shared rows."""
    return (f"{organization}:{ACCESS}", *stamp_names(organization, tags))


def _send(services: HttpServices, lookup_request: LookupRequest, claims: Claims) -> LookupReply:
    parameters = services.caller_limits.plan(claims.requests_per_hour).parameters
    try:
        return services.freshness.look_up(lookup_request, (lookup_request.user, *parameters))
    except CacheUnavailable:
        return LookupReply(is_unverified=bool(lookup_request.stamps) and services.lease.primary_is_unavailable())


def _evaluate(services: HttpServices, endpoint: Endpoint, found: Lookup, reply: LookupReply) -> Lookup:
    """Evaluate the reply of Redis; cache in this process what it did not have."""
    found.reply, lookup_request = reply, found.request
    if not reply.is_trusted or reply.state is None:
        found.caller = None  # the state in this process is outdated too: Redis has none under the current stamp
        return found
    if reply.state != IN_MEMORY:
        caller = caller_state.unpacked(reply.caller_key, reply.state)
        if not caller.is_on_time(lookup_request.seconds):
            # The UTC offset has changed, so the response that Redis found may be of another date.
            found.caller = None
            return found
        found.caller = caller
        services.caller_states.put(lookup_request.organization, lookup_request.user, found.caller)
    if found.caller is None or not lookup_request.digest:
        return found
    found.cache_key = (lookup_request.organization, found.caller.view(lookup_request.seconds), lookup_request.digest)
    if reply.response == IN_MEMORY:
        found.cached = found.candidate
    elif reply.response is not None:
        found.cached = services.response_cache.read(reply.response_key, reply.response)
        services.response_cache.memory.put(found.cache_key, found.cached, services.ttl_s(endpoint.options))
    return found
