"""Sending what the outbox owes: at least once, by as many senders as there are, and not for ever.

A sender claims one message by moving its date into the future, commits that, does the work, and notes that it is done.
Whoever dies in between leaves a message that is due again when its claim runs out, so it is done twice at the most for
each death, and never not at all. What fails comes again later and later; after the fifth time it is dead.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Uuid, column, select, table

from campshub.core.db.session import Session
from campshub.core.db.work import unit_of_work
from campshub.core.jobs.outbox import OutboxMessage
from campshub.core.platform import Platform

log = logging.getLogger(__name__)

MOST_ATTEMPTS = 5
CLAIM = timedelta(minutes=5)
FIRST_WAIT_S = 30
_GROWTH = 4

# Those of an organization that is suspended or closed wait until it is active again.
_organizations = table("organizations", column("id", Uuid()), column("status"))
_resting = select(_organizations.c.id).where(_organizations.c.status != "active")

Job = Callable[..., None]
_jobs: dict[str, Job] = {}


@dataclass(frozen=True)
class Owed:
    """A claimed message; its id goes with its effect, so that a receiver can tell a second time from the first."""

    organization_id: UUID
    id: UUID
    job: str
    arguments: dict[str, Any]
    attempts: int
    created_at: datetime


@dataclass
class Tally:
    """What became of the messages that were due."""

    done: int = 0
    failed: int = 0
    dead: int = 0


def job(name: str) -> Callable[[Job], Job]:
    """Register what does a job: ``(platform, owed, **arguments)``. It opens units of work of its own."""

    def register(function: Job) -> Job:
        _jobs[name] = function
        return function

    return register


def send_due(platform: Platform, *, most: int = 1_000) -> Tally:
    """Do what is due, one message after the other."""
    tally = Tally()
    for _ in range(most):
        owed = claim()
        if owed is None:
            break
        deliver(platform, owed, tally)
    return tally


def claim() -> Owed | None:
    """Claim the message that has been due for longest; None where nothing is."""
    now = datetime.now(UTC)
    with unit_of_work(system=True) as session:
        message = session.scalars(
            select(OutboxMessage)
            .where(
                OutboxMessage.job.in_(_jobs),
                OutboxMessage.finished_at.is_(None),
                OutboxMessage.died_at.is_(None),
                OutboxMessage.available_at <= now,
                OutboxMessage.organization_id.not_in(_resting),
            )
            .order_by(OutboxMessage.available_at)
            .limit(1)
            .with_for_update(skip_locked=True)
        ).one_or_none()
        if message is None:
            return None
        message.attempts += 1
        message.available_at = now + CLAIM
        return Owed(
            message.organization_id,
            message.id,
            message.job,
            message.arguments,
            message.attempts,
            message.created_at,
        )


def deliver(platform: Platform, owed: Owed, tally: Tally) -> None:
    """Do a claimed message's work, and note what became of it."""
    try:
        if owed.attempts > MOST_ATTEMPTS:  # each of them died with its sender
            raise TimeoutError("its senders have died")  # noqa: TRY301 - it is told like any other failure
        _jobs[owed.job](platform, owed, **owed.arguments)
    except Exception as error:
        log.exception("a job failed: %s %s", owed.job, owed.id)
        is_dead = owed.attempts >= MOST_ATTEMPTS
        _note(owed, problem=type(error).__name__, is_dead=is_dead)
        tally.dead += is_dead
        tally.failed += not is_dead
    else:
        _note(owed)
        tally.done += 1


def _note(owed: Owed, *, problem: str | None = None, is_dead: bool = False) -> None:
    now = datetime.now(UTC)
    with unit_of_work(system=True, organization_id=owed.organization_id) as session:
        message = _lock(session, owed)
        if message is None or message.finished_at is not None:
            return
        message.problem = problem
        if problem is None:
            message.finished_at = now
        elif is_dead:
            message.died_at = now
        else:
            message.available_at = now + timedelta(seconds=FIRST_WAIT_S * _GROWTH ** (owed.attempts - 1))


def _lock(session: Session, owed: Owed) -> OutboxMessage | None:
    return session.scalars(
        select(OutboxMessage)
        .where(OutboxMessage.organization_id == owed.organization_id, OutboxMessage.id == owed.id)
        .with_for_update()
    ).one_or_none()
