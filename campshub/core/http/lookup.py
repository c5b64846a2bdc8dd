"""What the edge asks before anything else: one call to Redis for limits, the caller's state and the finished answer."""

from functools import lru_cache

from flask import g, request

from campshub.core.db.models import PLATFORM_ID
from campshub.core.freshness.protocol import HELD, LookupReply, LookupRequest
from campshub.core.http import caller_state, read_routing
from campshub.core.http.context import Lookup, RequestContext
from campshub.core.http.endpoint import Endpoint
from campshub.core.http.services import HttpServices
from campshub.core.redis.connection import CacheUnavailable
from campshub.core.security.principal import shared_tags
from campshub.core.security.tokens import Claims

ACCESS = "access"
ASKED = "campshub.asked"


def first(services: HttpServices, claims: Claims, endpoint: Endpoint, digest: str, seconds: int) -> Lookup:
    """Ask all that a read needs to know, in one round trip, which counts the request.

    ``digest`` stands for the address and parameters of an answer that is kept, ``seconds`` is the request's own time.
    """
    known = _question(services, claims, endpoint, digest, seconds)
    return _read(services, endpoint, known, _told(services, known.question, claims))


def ask(context: RequestContext) -> Lookup:
    """Return what is known of a request, which the front may have asked already.

    :raises RateLimited: the caller has used up a limit.
    """
    claims, services, endpoint = context.claims, context.services, context.endpoint
    if claims is None:
        return Lookup(LookupRequest("", ""))
    digest = context.digest()
    seconds = int(context.unit.now.timestamp())
    known: Lookup = request.environ.pop(ASKED, None) or first(services, claims, endpoint, digest, seconds)
    _admit(services, known.asked, claims)
    if known.asked.is_trusted and known.caller is None and read_routing.learn(context, known.asked):
        # Now that Redis has the caller's state it can tell which answers are theirs.
        try:
            known = _uncounted(context, claims, digest, seconds)
        except CacheUnavailable:
            known = _question(services, claims, endpoint, digest, seconds)
    if known.question.seconds != seconds:
        known.place = None  # another second may be another day, on which the handler answers something else
    if known.place is not None:
        endpoint.figures.asked(found=known.cached, held=known.held)
    return known


def ask_uncounted(context: RequestContext) -> Lookup:
    """Return what is known of a read that nobody has sent, and which no limit counts.

    :raises CacheUnavailable: Redis does not answer.
    """
    claims, digest, seconds = context.claims, context.digest(), int(context.unit.now.timestamp())
    if claims is None:
        return Lookup(LookupRequest("", ""))
    known = _uncounted(context, claims, digest, seconds)
    if known.asked.is_trusted and known.caller is None and read_routing.learn(context, known.asked):
        known = _uncounted(context, claims, digest, seconds)
    return known


def _uncounted(context: RequestContext, claims: Claims, digest: str, seconds: int) -> Lookup:
    """Ask without counting.

    :raises CacheUnavailable: Redis does not answer.
    """
    known = _question(context.services, claims, context.endpoint, digest, seconds)
    return _read(context.services, context.endpoint, known, context.services.freshness.ask(known.question, None))


def count(services: HttpServices, claims: Claims) -> None:
    """Count a request that needs nothing else of Redis.

    :raises RateLimited: the caller has used up a limit.
    """
    known: Lookup | None = request.environ.pop(ASKED, None)
    asked = known.asked if known else _told(services, LookupRequest(claims.organization, claims.caller), claims)
    _admit(services, asked, claims)


def _admit(services: HttpServices, asked: LookupReply, claims: Claims) -> None:
    """Refuse whoever has used up a limit; without Redis it is counted in this process."""
    limits = services.caller_limits
    plan = limits.plan(claims.requests_per_hour)
    standing = limits.standing(asked.standing) if asked.standing else limits.count_here(claims.caller, plan)
    if not standing.allowed:
        raise limits.refusal(standing, plan)
    g.limits = limits.headers(standing, plan)


def _question(services: HttpServices, claims: Claims, endpoint: Endpoint, digest: str, seconds: int) -> Lookup:
    """Return what to ask for a read, with the state and the answer that this process holds, which may be true."""
    cache_policy = endpoint.options.cache_policy
    tags: tuple[str, ...] = ()
    if cache_policy is not None:
        tags = cache_policy.tags  # also where nothing is kept: they say which replica may answer
        if digest and not cache_policy.same_for_role:
            digest = f"{digest}:{claims.caller}"
    stamps = stamps_of(claims.organization, tags)
    caller = services.caller_states.get(claims.organization, claims.caller, seconds)
    if caller is None:
        return Lookup(LookupRequest(claims.organization, claims.caller, stamps, seconds, digest=digest))
    view = caller.view(seconds)
    held = services.response_cache.memory.get((claims.organization, view, digest)) if digest else None
    held_key = held.key if held else b""
    question = LookupRequest(claims.organization, claims.caller, stamps, seconds, caller.key, view, digest, held_key)
    return Lookup(question, caller=caller, held=held)


@lru_cache(maxsize=10_000)
def stamps_of(organization: str, tags: tuple[str, ...]) -> tuple[str, ...]:
    """Name the stamps that an answer depends on, that of access first; shared rows have one of the platform's too."""
    shared = shared_tags()
    named = [f"{organization}:{ACCESS}"]
    for tag in tags:
        named.append(f"{organization}:{tag}")
        if tag in shared:
            named.append(f"{PLATFORM_ID}:{tag}")
    return tuple(named)


def _told(services: HttpServices, question: LookupRequest, claims: Claims) -> LookupReply:
    terms = services.caller_limits.plan(claims.requests_per_hour).parameters
    try:
        return services.freshness.ask(question, (question.user, *terms))
    except CacheUnavailable:
        return LookupReply(is_unverified=bool(question.stamps) and services.lease.primary_is_away())


def _read(services: HttpServices, endpoint: Endpoint, known: Lookup, asked: LookupReply) -> Lookup:
    """Read what Redis has told; what the process did not hold yet it holds from now on."""
    known.asked, question = asked, known.question
    if not asked.is_trusted or asked.state is None:
        known.caller = None
        return known
    if asked.state != HELD:
        caller = caller_state.unpacked(asked.caller_key, asked.state)
        if not caller.is_on_time(question.seconds):
            known.caller = None  # its clock has changed since: what Redis found is of another day
            return known
        known.caller = caller
        services.caller_states.put(question.organization, question.user, known.caller)
    if known.caller is None or not question.digest:
        return known
    known.place = (question.organization, known.caller.view(question.seconds), question.digest)
    if asked.answer == HELD:
        known.cached = known.held
    elif asked.answer is not None:
        known.cached = services.response_cache.read(asked.answer_key, asked.answer)
        services.response_cache.memory.put(known.place, known.cached, services.ttl_s(endpoint.options))
    return known
