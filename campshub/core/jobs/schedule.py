"""The schedule of jobs, in UTC; each slot is a unique row, so that two beats do not enqueue it twice.

Celery beat only sends ticks. At each tick a worker finds the latest slot of each entry, and enqueues it unless it is
already enqueued. So a slot that was missed during a downtime is enqueued later, until half of its period has passed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from campshub.core.db.models import PLATFORM_ID, AnyRow
from campshub.core.db.session import Session
from campshub.core.jobs import registry, store
from campshub.core.jobs.models import Job


class When(Protocol):
    """Defines when slots begin."""

    @property
    def period(self) -> timedelta:
        """The time between two slots."""

    def slot(self, now: datetime) -> datetime:
        """Return the latest slot that has begun."""

    def __str__(self) -> str:
        """Return a description."""


@dataclass(frozen=True)
class Every:
    """Every ``minutes`` minutes, counted from midnight."""

    minutes: int

    @property
    def period(self) -> timedelta:
        """The time between two slots."""
        return timedelta(minutes=self.minutes)

    def slot(self, now: datetime) -> datetime:
        """Return the latest slot that has begun."""
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        return midnight + (now - midnight) // self.period * self.period

    def __str__(self) -> str:
        """Return a description."""
        return "every minute" if self.minutes == 1 else f"every {self.minutes} minutes"


@dataclass(frozen=True)
class Daily:
    """Every day at a fixed time."""

    hour: int
    minute: int = 0

    period = timedelta(days=1)

    def slot(self, now: datetime) -> datetime:
        """Return the latest slot that has begun."""
        today = now.replace(hour=self.hour, minute=self.minute, second=0, microsecond=0)
        return today if today <= now else today - self.period

    def __str__(self) -> str:
        """Return a description."""
        return f"daily at {self.hour:02}:{self.minute:02}"


@dataclass(frozen=True)
class Weekly:
    """Every week on a day (Monday is 0), at a fixed time."""

    day: int
    hour: int
    minute: int = 0

    period = timedelta(weeks=1)

    def slot(self, now: datetime) -> datetime:
        """Return the latest slot that has begun."""
        today = Daily(self.hour, self.minute).slot(now)
        return today - timedelta(days=(today.weekday() - self.day) % 7)

    def __str__(self) -> str:
        """Return a description."""
        name = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")[self.day]
        return f"{name}s at {self.hour:02}:{self.minute:02}"


@dataclass(frozen=True)
class ScheduleEntry:
    """One entry of the schedule."""

    job: str
    when: When
    arguments: Mapping[str, Any] = field(default_factory=dict)


_entries: dict[str, ScheduleEntry] = {}


def scheduled(job: str, when: When, **arguments: Any) -> None:
    """Add a job to the schedule; modules call it next to the job."""
    _entries[job] = ScheduleEntry(job, when, arguments)


def entries() -> list[ScheduleEntry]:
    """Return all entries, sorted by job name."""
    return [entry for _, entry in sorted(_entries.items())]


def find(job: str) -> ScheduleEntry | None:
    """Return the entry of a job."""
    return _entries.get(job)


def enqueue_due(session: Session, now: datetime) -> list[AnyRow]:
    """Enqueue the slots that have begun and are not enqueued yet; return their messages.

    They belong to the platform's organization. Requires the system role.
    """
    due = []
    for entry in entries():
        slot = entry.when.slot(now)
        if now - slot < entry.when.period / 2:
            due.append({"job": entry.job, "arguments": dict(entry.arguments), "slot": slot})
    inserted = store.insert_slots(session, PLATFORM_ID, due)
    session.add_all(
        Job(organization_id=row.organization_id, id=row.id, job=row.job)
        for row in inserted
        if registry.has_steps(row.job)
    )
    return inserted
