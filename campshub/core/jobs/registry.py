"""The types of jobs, with one decorator each, and the context of a run.

- ``job``: one unit of work. Finishing the message is part of its transaction, so its effect happens exactly once.
- ``stepped_job``: many small units of work; each stores the position at which the next one begins.
- ``external_job``: acts outside the database (an email), at least once, with the message's id.
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
    """The queues in which jobs wait for a worker; separate queues keep long jobs from delaying urgent ones."""

    CRITICAL = "critical"
    DEFAULT = "default"
    REPORTS = "reports"
    MAINTENANCE = "maintenance"


class JobType(StrEnum):
    """How a job runs."""

    SINGLE = "single"
    STEPS = "steps"
    EXTERNAL = "external"
    MAINTENANCE = "maintenance"


class RetryLater(Exception):
    """The job cannot run now, for an external reason: it is retried, and the attempt does not count."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"in {seconds:.0f} s")
        self.seconds = seconds


@dataclass(frozen=True)
class JobDefinition:
    """One job: its name, function, type, queue, role and time limit."""

    name: str
    function: Callable[..., Any]
    type: JobType
    queue: Queue
    is_system: bool
    limit_s: int


@dataclass
class Run:
    """One attempt at one message; external effects carry the message's id, so that a repetition can be recognized."""

    services: "Services"
    organization_id: UUID
    id: UUID
    job: str
    arguments: dict[str, Any]
    # The number of this attempt; a successful step resets it.
    attempt: int
    claim: int
    created_at: datetime
    trace_id: str = ""
    user_id: UUID | None = None
    api_key_id: UUID | None = None
    # The position after the commit of the claim, and so after the commit that enqueued the job.
    position: Position | None = None

    def unit(self, *, is_system: bool, read_only: bool = False) -> Unit:
        """Return a unit of work in the message's organization, for the user who requested the job."""
        return Unit(
            engine=self.services.engines["system" if is_system else None],
            read_only=read_only,
            organization_id=self.organization_id,
            user_id=self.user_id,
            api_key_id=self.api_key_id,
            trace_id=self.trace_id,
        )

    @contextmanager
    def reading(self, *, on_primary: bool = False) -> Iterator[Session]:
        """Open a read-only unit of work on a replica that has replayed all commits before the run, else on the primary.

        Large reads on a replica do not load the primary. A read that must see commits made during the run is made on
        the primary.
        """
        unit = self.unit(is_system=False, read_only=True)
        position = None if on_primary else self.position
        replica = self.services.replicas.wait_for(unit, position) if position is not None else None
        if replica is None or position is None:
            with closing(begin(unit)) as session:
                yield session
                commit(session)
            return
        with (
            replica.reading(unit, comparable(position.lsn)) as replica_unit,
            closing(begin(replica_unit)) as session,
        ):
            yield session
            commit(session)


@dataclass(frozen=True)
class Step:
    """The result of a step: the position of the next one, or that the job is finished."""

    position: dict[str, Any] | None = None
    done: int = 0
    total: int | None = None
    finished: bool = False
    result: dict[str, Any] | None = None


Registered = Callable[[Callable[..., Any]], Callable[..., Any]]
_definitions: dict[str, JobDefinition] = {}


def job(name: str, *, queue: Queue = Queue.DEFAULT, system: bool = False, limit_s: int = MINUTE_S) -> Registered:
    """Register ``(session, run, **arguments)``: one unit of work, whose effect happens exactly once."""
    return _registering(name, JobType.SINGLE, queue, is_system=system, limit_s=limit_s)


def stepped_job(name: str, *, queue: Queue = Queue.DEFAULT, system: bool = False, limit_s: int = HOUR_S) -> Registered:
    """Register ``(session, run, position, **arguments) -> Step``: each step is a unit of work with its position.

    The session's transaction begins with its first statement, so a step may do long work before that.
    """
    return _registering(name, JobType.STEPS, queue, is_system=system, limit_s=limit_s)


def external_job(name: str, *, queue: Queue = Queue.DEFAULT, limit_s: int = 2 * MINUTE_S) -> Registered:
    """Register ``(run, **arguments)``: it opens its own units of work, and runs at least once."""
    return _registering(name, JobType.EXTERNAL, queue, is_system=False, limit_s=limit_s)


def maintenance_job(name: str, *, limit_s: int = 6 * HOUR_S) -> Registered:
    """Register ``(connection, run, **arguments)``: never two runs at once, on a direct connection as tables' owner."""
    return _registering(name, JobType.MAINTENANCE, Queue.MAINTENANCE, is_system=True, limit_s=limit_s)


def _registering(name: str, type_: JobType, queue: Queue, *, is_system: bool, limit_s: int) -> Registered:
    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        _definitions[name] = JobDefinition(name, function, type_, queue, is_system, limit_s)
        return function

    return register


def job_names() -> list[str]:
    """Return the names of all jobs."""
    return list(_definitions)


def definition_of(name: str) -> JobDefinition | None:
    """Return a job by its name; None for a job that this release does not know."""
    return _definitions.get(name)


def has_steps(name: str) -> bool:
    """Return whether a job has steps."""
    definition = _definitions.get(name)
    return definition is not None and definition.type is JobType.STEPS
