"""What the edge asks before anything else: one call to Redis for limits, the caller's state and the finished answer."""

from collections.abc import Hashable
from dataclasses import dataclass
from functools import lru_cache
from uuid import UUID

from flask import g, request

from campshub.core.cache.memory import Kept
from campshub.core.cache.connection import CacheAway
from campshub.core.db.base import PLATFORM_ID
from campshub.core.db.freshness import HELD, Asked, Question
from campshub.core.http import callers, reading
from campshub.core.http.call import Call
from campshub.core.http.callers import Caller
from campshub.core.platform import Platform
from campshub.core.security.principal import shared_tags

ACCESS = "access"


@dataclass(slots=True)
class Known:
    """What is known before the database is asked; without trust, no more than where the limits stand."""

    asked: Asked
    caller: Caller | None = None
    kept: Kept | None = None
    place: Hashable = None


def ask(call: Call) -> Known:
    """Ask all that a read needs to know, and count the request.

    :raises RateLimited: the caller has used up a limit.
    """
    claims, platform = call.claims, call.platform
    if claims is None:
        return Known(Asked())
    question, held = _question(call, platform.callers.get(claims.organization_id, claims.user_id))
    asked = _counted(platform, question)
    known = _known(call, question, asked, held)
    if asked.is_trusted and known.caller is None and reading.learn(call, asked):
        # Now that Redis has the caller's state it can tell which answers are theirs.
        question, held = _question(call, platform.callers.get(claims.organization_id, claims.user_id))
        try:
            known = _known(call, question, platform.freshness.ask(question, None), held)
        except CacheAway:
            known = Known(Asked())
    if known.place is not None:
        call.handler.figures.asked(found=known.kept, held=held)
    return known


def count(platform: Platform, organization_id: UUID, user_id: UUID) -> None:
    """Count a request that needs nothing else of Redis.

    :raises RateLimited: the caller has used up a limit.
    """
    _counted(platform, Question(organization_id, user_id))


def _question(call: Call, caller: Caller | None) -> tuple[Question, Kept | None]:
    """Return what to ask for a read, and the answer that this process holds, which may be the true one."""
    claims, keeping = call.claims, call.keeping
    if claims is None:
        raise ValueError("nobody has signed in")
    organization_id, seconds = claims.organization_id, int(call.unit.now.timestamp())
    digest = ""
    if keeping is not None:
        digest = call.handler.digest(request.path, request.query_string)
        if not keeping.same_for_role:
            digest = f"{digest}:{claims.user_id}"
    view = caller.view(seconds) if caller else ""
    held = call.platform.answers.memory.get((organization_id, view, digest)) if view and digest else None
    question = Question(
        organization_id,
        claims.user_id,
        stamps=stamps_of(organization_id, keeping.tags if keeping else ()),
        seconds=seconds,
        caller_key=caller.key if caller else b"",
        view=view,
        digest=digest,
        answer_key=held.key if held else b"",
    )
    return question, held


@lru_cache(maxsize=10_000)
def stamps_of(organization_id: UUID, tags: tuple[str, ...]) -> tuple[str, ...]:
    """Name the stamps that an answer depends on, that of access first; shared rows have one of the platform's too."""
    shared = shared_tags()
    named = [f"{organization_id}:{ACCESS}"]
    for tag in tags:
        named.append(f"{organization_id}:{tag}")
        if tag in shared:
            named.append(f"{PLATFORM_ID}:{tag}")
    return tuple(named)


def _counted(platform: Platform, question: Question) -> Asked:
    """Ask, and refuse whoever has used up a limit; without Redis it is counted in this process."""
    limits, user = platform.limits, str(question.user_id)
    try:
        asked = platform.freshness.ask(question, (user, *limits.terms))
    except CacheAway:
        asked = Asked(is_unverified=platform.lease.primary_is_away())
    standing = limits.standing(asked.standing) if asked.standing else limits.count_here(user)
    if not standing.allowed:
        raise limits.refusal(standing)
    g.limits = limits.headers(standing)
    return asked


def _known(call: Call, question: Question, asked: Asked, held: Kept | None) -> Known:
    """Read what Redis has told into the process's memory."""
    known = Known(asked)
    if not asked.is_trusted or asked.state is None:
        return known
    platform, organization_id = call.platform, question.organization_id
    known.caller = platform.callers.get(organization_id, question.user_id)
    if asked.state != HELD:
        known.caller = callers.unpacked(asked.caller_key, asked.state)
        platform.callers.put(organization_id, question.user_id, known.caller)
    if known.caller is None or not question.digest:
        return known
    known.place = (organization_id, known.caller.view(question.seconds), question.digest)
    if asked.answer == HELD:
        known.kept = held
    elif asked.answer is not None:
        known.kept = platform.answers.read(asked.answer_key, asked.answer)
        platform.answers.memory.put(known.place, known.kept, call.life_s)
    return known
