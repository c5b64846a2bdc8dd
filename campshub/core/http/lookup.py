"""What the edge asks before anything else: one call to Redis for limits, the caller's state and the finished answer."""

from functools import lru_cache

from flask import g, request

from campshub.core.db.models import PLATFORM_ID
from campshub.core.freshness.protocol import HELD, Asked, Question
from campshub.core.http import caller_state, read_routing
from campshub.core.http.context import Call, Known
from campshub.core.http.endpoint import Handler
from campshub.core.http.services import HttpServices
from campshub.core.redis.connection import CacheAway
from campshub.core.security.principal import shared_tags
from campshub.core.security.tokens import Claims

ACCESS = "access"
ASKED = "campshub.asked"


def first(services: HttpServices, claims: Claims, handler: Handler, digest: str, seconds: int) -> Known:
    """Ask all that a read needs to know, in one round trip, which counts the request.

    ``digest`` stands for the address and parameters of an answer that is kept, ``seconds`` is the request's own time.
    """
    known = _question(services, claims, handler, digest, seconds)
    return _read(services, handler, known, _told(services, known.question, claims))


def ask(call: Call) -> Known:
    """Return what is known of a request, which the front may have asked already.

    :raises RateLimited: the caller has used up a limit.
    """
    claims, services, handler = call.claims, call.services, call.handler
    if claims is None:
        return Known(Question("", ""))
    digest = call.digest()
    seconds = int(call.unit.now.timestamp())
    known: Known = request.environ.pop(ASKED, None) or first(services, claims, handler, digest, seconds)
    _admit(services, known.asked, claims)
    if known.asked.is_trusted and known.caller is None and read_routing.learn(call, known.asked):
        # Now that Redis has the caller's state it can tell which answers are theirs.
        try:
            known = _uncounted(call, claims, digest, seconds)
        except CacheAway:
            known = _question(services, claims, handler, digest, seconds)
    if known.question.seconds != seconds:
        known.place = None  # another second may be another day, on which the handler answers something else
    if known.place is not None:
        handler.figures.asked(found=known.kept, held=known.held)
    return known


def ask_uncounted(call: Call) -> Known:
    """Return what is known of a read that nobody has sent, and which no limit counts.

    :raises CacheAway: Redis does not answer.
    """
    claims, digest, seconds = call.claims, call.digest(), int(call.unit.now.timestamp())
    if claims is None:
        return Known(Question("", ""))
    known = _uncounted(call, claims, digest, seconds)
    if known.asked.is_trusted and known.caller is None and read_routing.learn(call, known.asked):
        known = _uncounted(call, claims, digest, seconds)
    return known


def _uncounted(call: Call, claims: Claims, digest: str, seconds: int) -> Known:
    """Ask without counting.

    :raises CacheAway: Redis does not answer.
    """
    known = _question(call.services, claims, call.handler, digest, seconds)
    return _read(call.services, call.handler, known, call.services.freshness.ask(known.question, None))


def count(services: HttpServices, claims: Claims) -> None:
    """Count a request that needs nothing else of Redis.

    :raises RateLimited: the caller has used up a limit.
    """
    known: Known | None = request.environ.pop(ASKED, None)
    asked = known.asked if known else _told(services, Question(claims.organization, claims.caller), claims)
    _admit(services, asked, claims)


def _admit(services: HttpServices, asked: Asked, claims: Claims) -> None:
    """Refuse whoever has used up a limit; without Redis it is counted in this process."""
    limits = services.limits
    plan = limits.plan(claims.requests_per_hour)
    standing = limits.standing(asked.standing) if asked.standing else limits.count_here(claims.caller, plan)
    if not standing.allowed:
        raise limits.refusal(standing, plan)
    g.limits = limits.headers(standing, plan)


def _question(services: HttpServices, claims: Claims, handler: Handler, digest: str, seconds: int) -> Known:
    """Return what to ask for a read, with the state and the answer that this process holds, which may be true."""
    keeping = handler.mark.keeping
    tags: tuple[str, ...] = ()
    if keeping is not None:
        tags = keeping.tags  # also where nothing is kept: they say which replica may answer
        if digest and not keeping.same_for_role:
            digest = f"{digest}:{claims.caller}"
    stamps = stamps_of(claims.organization, tags)
    caller = services.callers.get(claims.organization, claims.caller, seconds)
    if caller is None:
        return Known(Question(claims.organization, claims.caller, stamps, seconds, digest=digest))
    view = caller.view(seconds)
    held = services.answers.memory.get((claims.organization, view, digest)) if digest else None
    held_key = held.key if held else b""
    question = Question(claims.organization, claims.caller, stamps, seconds, caller.key, view, digest, held_key)
    return Known(question, caller=caller, held=held)


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


def _told(services: HttpServices, question: Question, claims: Claims) -> Asked:
    terms = services.limits.plan(claims.requests_per_hour).terms
    try:
        return services.freshness.ask(question, (question.user, *terms))
    except CacheAway:
        return Asked(is_unverified=bool(question.stamps) and services.lease.primary_is_away())


def _read(services: HttpServices, handler: Handler, known: Known, asked: Asked) -> Known:
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
        services.callers.put(question.organization, question.user, known.caller)
    if known.caller is None or not question.digest:
        return known
    known.place = (question.organization, known.caller.view(question.seconds), question.digest)
    if asked.answer == HELD:
        known.kept = known.held
    elif asked.answer is not None:
        known.kept = services.answers.read(asked.answer_key, asked.answer)
        services.answers.memory.put(known.place, known.kept, services.life_s(handler.mark))
    return known
