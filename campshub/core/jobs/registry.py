"""The kinds of job, one decorator each; and what a run of one knows.

- ``job``: one unit of work. That the event is done is part of its transaction, so its effect is there exactly once.
- ``stepped_job``: many small units of work, each with the position that the next one begins with.
- ``outward_job``: acts outside the database (an e-mail); at least once, with the event's id.
- ``maintenance_job``: statements that cannot run in a transaction, on a connection of the maintenance role.
"""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any
from uuid import UUID

from campshub.core.db.session import Session, Unit, begin, commit
from campshub.core.db.unit import Position
from campshub.core.freshness.protocol import comparable

if TYPE_CHECKING:
    from campshub.core.service_base import Services

MINUTE_S = 60
HOUR_S = 3600


class Queue(StrEnum):
    """Where a job waits for a worker, so that long ones do not stand in the way of urgent ones."""

    CRITICAL = "critical"
    DEFAULT = "default"
    REPORTS = "reports"
    MAINTENANCE = "maintenance"


class JobType(StrEnum):
    """How a job runs."""

    ONE = "one"
    STEPS = "steps"
    OUTWARD = "outward"
    MAINTENANCE = "maintenance"


class RetryLater(Exception):
    """It cannot be done now, through no fault of its own: it comes again, and the attempt does not count."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"in {seconds:.0f} s")
        self.seconds = seconds


@dataclass(frozen=True)
class JobDefinition:
    """One job by its name: what does it, how, where it waits, and after how long it is stopped."""

    name: str
    function: Callable[..., Any]
    shape: JobType
    queue: Queue
    is_system: bool
    limit_s: int


@dataclass
class Run:
    """One try at one event; the event's id goes with every effect outside, so that a second time can be told."""

    services: "Services"
    organization_id: UUID
    id: UUID
    job: str
    arguments: dict[str, Any]
    # Which try this is at where it stands: a step that was done lets the count begin anew.
    attempt: int
    claim: int
    created_at: datetime
    trace_id: str = ""
    user_id: UUID | None = None
    api_key_id: UUID | None = None
    # Where the claim was committed: after everything that the event tells of.
    position: Position | None = None

    def unit(self, *, is_system: bool, read_only: bool = False) -> Unit:
        """Return a unit of work in the event's organization, of whoever asked for it."""
        return Unit(
            engine=self.services.engines["system" if is_system else None],
            read_only=read_only,
            organization_id=self.organization_id,
            user_id=self.user_id,
            api_key_id=self.api_key_id,
            trace_id=self.trace_id,
        )

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Open a read-only unit of work on a replica that shows what was committed before the run, else on the primary.

        What is asked of it is not on the primary's shoulders, however much it is.
        """
        unit = self.unit(is_system=False, read_only=True)
        replica = self.services.replicas.wait_for(unit, self.position) if self.position is not None else None
        if replica is None or self.position is None:
            with closing(begin(unit)) as session:
                yield session
                commit(session)
            return
        with replica.reading(unit, comparable(self.position.lsn)) as lent, closing(begin(lent)) as session:
            yield session
            commit(session)


@dataclass(frozen=True)
class Step:
    """What a step has come to: the position of the next one, or that the job is finished."""

    position: dict[str, Any] | None = None
    done: int = 0
    total: int | None = None
    finished: bool = False
    result: dict[str, Any] | None = None


Registered = Callable[[Callable[..., Any]], Callable[..., Any]]
_kinds: dict[str, JobDefinition] = {}


def job(name: str, *, queue: Queue = Queue.DEFAULT, system: bool = False, limit_s: int = MINUTE_S) -> Registered:
    """Register ``(session, run, **arguments)``: one unit of work, whose effect is there exactly once."""
    return _registering(name, JobType.ONE, queue, is_system=system, limit_s=limit_s)


def stepped_job(name: str, *, queue: Queue = Queue.DEFAULT, system: bool = False, limit_s: int = HOUR_S) -> Registered:
    """Register ``(session, run, position, **arguments) -> Step``: each step is a unit of work with its position.

    The session's transaction begins with its first statement, so a step may work for long before that.
    """
    return _registering(name, JobType.STEPS, queue, is_system=system, limit_s=limit_s)


def external_job(name: str, *, queue: Queue = Queue.DEFAULT, limit_s: int = 2 * MINUTE_S) -> Registered:
    """Register ``(run, **arguments)``: it opens units of work of its own, and is done at least once."""
    return _registering(name, JobType.OUTWARD, queue, is_system=False, limit_s=limit_s)


def maintenance_job(name: str, *, limit_s: int = 6 * HOUR_S) -> Registered:
    """Register ``(connection, run, **arguments)``: never two at once, on a direct connection of the tables' owner."""
    return _registering(name, JobType.MAINTENANCE, Queue.MAINTENANCE, is_system=True, limit_s=limit_s)


def _registering(name: str, shape: JobType, queue: Queue, *, is_system: bool, limit_s: int) -> Registered:
    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        _kinds[name] = JobDefinition(name, function, shape, queue, is_system, limit_s)
        return function

    return register


def job_names() -> list[str]:
    """Return the names of all jobs."""
    return list(_kinds)


def definition_of(name: str) -> JobDefinition | None:
    """Return a job by its name; None of one that this release does not know."""
    return _kinds.get(name)


def has_steps(name: str) -> bool:
    """Tell whether a job is one of many steps."""
    kind = _kinds.get(name)
    return kind is not None and kind.shape is JobType.STEPS
