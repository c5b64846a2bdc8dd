"""Run pending jobs: claim a message, run its job according to its type, and store the outcome.

Only the database decides whether a job runs. A caller (the broker, the relay, a command) may call a worker twice or too
late: a message that is not due, is finished, or is running elsewhere is not claimed. The claim of a dead worker
expires. A failed job is retried with growing delays; after the fifth failure it is dead, until an operator replays it.
"""

import contextlib
import logging
import random
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from flask import current_app
from sqlalchemy import text

from campshub.core import partitions
from campshub.core.circuit_breaker import CircuitOpen
from campshub.core.db.models import AnyRow
from campshub.core.db.session import Session, open_session
from campshub.core.db.unit import Position
from campshub.core.db.unit_of_work import commit_with_effects, run_separate_transactions, unit_of_work
from campshub.core.jobs import metrics, registry, store
from campshub.core.jobs.models import ENDED, Job
from campshub.core.jobs.registry import JobDefinition, JobType, RetryLater, Run, Step
from campshub.core.observe.trace import Trace, current_trace
from campshub.core.service_base import Services

log = logging.getLogger(__name__)

MOST_ATTEMPTS = 5
_GROWTH = 4
# A job with steps yields to other jobs after this time.
SLICE_S = 20.0
BUSY_AGAIN_S = 60.0
_LOCK = text("SELECT pg_try_advisory_lock(hashtextextended('job:' || :job, 0))")


class ClaimRenewal(contextlib.AbstractContextManager["ClaimRenewal"]):
    """Renews a claim from its own thread, three times within the claim's duration."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._seconds = run.services.settings.job_claim_s
        self._ended = threading.Event()
        self._app = current_app._get_current_object()  # type: ignore[attr-defined] # noqa: SLF001 - the name is public
        self._thread = threading.Thread(target=self._renew, name=f"renews {run.job}", daemon=True)

    def __enter__(self) -> Self:
        """Start renewing."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop renewing, and wait for the end of a running renewal."""
        self._ended.set()
        self._thread.join()

    def _renew(self) -> None:
        while not self._ended.wait(self._seconds / 3):
            try:
                with self._app.app_context(), unit_of_work(system=True) as session:
                    store.extend_claim(session, self._run, seconds=self._seconds)
            except store.ClaimLost:
                return
            except Exception:  # retried soon; if the claim is lost meanwhile, the run writes nothing
                log.exception("a claim could not be renewed: %s", self._run.id)


class Outcome(StrEnum):
    """The outcome of a call."""

    NOTHING = "nothing"  # nothing to do: the message is finished, not due, or running elsewhere
    DONE = "done"
    MORE = "more"  # a job with steps has yielded to other jobs
    LATER = "later"
    FAILED = "failed"
    DEAD = "dead"
    LOST = "lost"  # the claim had expired, and another worker may have the message


@dataclass
class RunTally:
    """The outcomes of the due messages."""

    done: int = 0
    failed: int = 0
    dead: int = 0


class Cancelled(Exception):
    """The job was cancelled by request."""


def run_due(services: Services, *, most: int = 1_000) -> RunTally:
    """Run due messages in this process, one after another, until none is due."""
    tally = RunTally()
    for _ in range(most):
        run = _claim(services, lambda session, options: store.claim_next(session, **options))
        if run is None:
            break
        outcome = _run(run)
        tally.done += outcome is Outcome.DONE
        tally.failed += outcome in {Outcome.FAILED, Outcome.LATER}
        tally.dead += outcome is Outcome.DEAD
    return tally


def run_one(services: Services, organization_id: UUID, message_id: UUID) -> Outcome:
    """Run one message, if it is due and not claimed."""
    run = _claim(services, lambda session, options: store.claim(session, organization_id, message_id, **options))
    if run is None:
        return Outcome.NOTHING
    outcome = _run(run)
    if outcome is Outcome.MORE:
        services.sender.send([(organization_id, message_id, run.job)])
    return outcome


def _claim(services: Services, claim: Callable[[Session, dict[str, Any]], AnyRow | None]) -> Run | None:
    options = {"jobs": registry.job_names(), "claim_s": services.settings.job_claim_s}
    with unit_of_work(system=True) as session:
        row = claim(session, options)
    return _run_of(services, row, session.unit.ended_at) if row is not None else None


def _run_of(services: Services, row: AnyRow, position: Position | None) -> Run:
    return Run(
        services=services,
        organization_id=row.organization_id,
        id=row.id,
        job=row.job,
        arguments=row.arguments,
        attempt=row.attempts,
        claim=row.claims,
        created_at=row.created_at,
        trace_id=row.trace_id,
        user_id=row.user_id,
        api_key_id=row.api_key_id,
        position=position,
    )


def _run(run: Run) -> Outcome:
    """Run a claimed message, and store the outcome."""
    definition = registry.definition_of(run.job)
    if definition is None:
        return Outcome.NOTHING
    metrics.begun(run)
    token = current_trace.set(Trace(f"job {run.job}", run.trace_id, str(run.id)))
    started = time.perf_counter()
    try:
        outcome = _try(definition, run)
    finally:
        current_trace.reset(token)
    metrics.ended(run, outcome, time.perf_counter() - started)
    return outcome


def _try(definition: JobDefinition, run: Run) -> Outcome:
    try:
        if run.attempt > MOST_ATTEMPTS:  # the worker died in each of them
            raise TimeoutError("its workers have died")  # noqa: TRY301 - it is handled like any other failure
        return _RUNNERS[definition.type](definition, run)
    except store.ClaimLost:
        log.warning("a job was taken over: %s %s", run.job, run.id)
        return Outcome.LOST
    except (RetryLater, CircuitOpen) as later:
        return _retry_later(run, later.seconds)
    except Cancelled:
        _end(run, "cancelled")
        return Outcome.DONE
    except Exception as error:
        log.exception("a job failed: %s %s", run.job, run.id)
        return _fail(run, type(error).__name__)


def _retry_later(run: Run, seconds: float) -> Outcome:
    _note(run, lambda session: store.retry_later(session, run, seconds=seconds, problem=None, counts=False))
    return Outcome.LATER


def _fail(run: Run, problem: str) -> Outcome:
    if run.attempt >= MOST_ATTEMPTS:
        _end(run, "failed", problem)
        return Outcome.DEAD
    wait = run.services.settings.job_retry_s * _GROWTH ** (run.attempt - 1)
    wait *= random.uniform(0.9, 1.1)  # noqa: S311 - jitter: jobs that failed together are not retried together
    _note(run, lambda session: store.retry_later(session, run, seconds=wait, problem=problem, counts=True))
    return Outcome.FAILED


def _end(run: Run, state: str, problem: str | None = None) -> None:
    """End a message without its effect: it is dead or cancelled."""

    def ending(session: Session) -> None:
        job = session.get(Job, (run.organization_id, run.id))
        if job is not None and job.state not in ENDED:
            job.state, job.problem, job.finished_at = state, problem, datetime.now(UTC)
        if problem is None:
            store.finish(session, run)
        else:
            store.fail(session, run, problem=problem)

    _note(run, ending)


def _note(run: Run, note: Callable[[Session], None]) -> None:
    """Store a change of a message, unless another worker has claimed it meanwhile."""
    try:
        with unit_of_work(system=True, organization_id=run.organization_id) as session:
            note(session)
    except store.ClaimLost:
        log.warning("a job was taken over: %s %s", run.job, run.id)


def _run_single(definition: JobDefinition, run: Run) -> Outcome:
    """Run a job in one unit of work, which finishes the message first: the row lock keeps other workers out."""
    unit = run.unit(is_system=definition.is_system)
    try:
        with closing(open_session(unit)) as session:
            store.finish(session, run)
            definition.function(session, run, **run.arguments)
            commit_with_effects(session, run.services)
    finally:
        run_separate_transactions(unit)
    return Outcome.DONE


def _run_external(definition: JobDefinition, run: Run) -> Outcome:
    """Run a job with external effects, and finish the message; after a crash between the two, the job runs again."""
    with ClaimRenewal(run):
        definition.function(run, **run.arguments)
    _note(run, lambda session: store.finish(session, run))
    return Outcome.DONE


def _run_in_maintenance(definition: JobDefinition, run: Run) -> Outcome:
    with partitions.maintenance(run.services.settings) as connection:
        if not connection.scalar(_LOCK, {"job": run.job}):
            raise RetryLater(BUSY_AGAIN_S)
        with ClaimRenewal(run):
            definition.function(connection, run, **run.arguments)
    _note(run, lambda session: store.finish(session, run))
    return Outcome.DONE


def _run_steps(definition: JobDefinition, run: Run) -> Outcome:
    until = time.monotonic() + SLICE_S
    position = _begin(run)
    while True:
        step, yields = _step(definition, run, position, until)
        if step.finished:
            return Outcome.DONE
        if yields:
            return Outcome.MORE
        run.attempt, position = 1, step.position


def _begin(run: Run) -> dict[str, Any] | None:
    """Return the position of the job, and set its state to running.

    :raises Cancelled: it was cancelled.
    """
    with unit_of_work(system=True, organization_id=run.organization_id) as session:
        job = _job_of(session, run)
        if job.state == "queued":
            job.state, job.started_at = "running", job.started_at or session.unit.now
        return job.position


def _job_of(session: Session, run: Run) -> Job:
    """Return the row of a job, or create it if a command or the schedule has enqueued the job.

    :raises Cancelled: it was cancelled.
    """
    job = session.get(Job, (run.organization_id, run.id), with_for_update=True)
    if job is None:
        job = Job(organization_id=run.organization_id, id=run.id, job=run.job, user_id=run.user_id, state="queued")
        session.add(job)
    if job.cancel_requested_at is not None or job.state in ENDED:
        raise Cancelled
    return job


def _step(definition: JobDefinition, run: Run, position: dict[str, Any] | None, until: float) -> tuple[Step, bool]:
    """Run one step and store its position, in one unit of work; return also whether the job yields to others now.

    The message is updated last, so the step commits only if the claim is still valid at the commit.
    """
    unit = run.unit(is_system=definition.is_system)
    try:
        with closing(open_session(unit)) as session:
            with ClaimRenewal(run):
                step: Step = definition.function(session, run, position, **run.arguments)
            yields = time.monotonic() >= until
            job = _job_of(session, run)
            job.position, job.done = step.position, step.done
            job.total = step.total if step.total is not None else job.total
            if step.finished:
                job.state, job.result, job.finished_at = "succeeded", step.result, datetime.now(UTC)
                store.finish(session, run)
            elif yields:
                store.yield_claim(session, run)
            else:
                store.advance(session, run, seconds=run.services.settings.job_claim_s)
            commit_with_effects(session, run.services)
    finally:
        run_separate_transactions(unit)
    return step, yields


_RUNNERS: dict[JobType, Callable[[JobDefinition, Run], Outcome]] = {
    JobType.SINGLE: _run_single,
    JobType.STEPS: _run_steps,
    JobType.EXTERNAL: _run_external,
    JobType.MAINTENANCE: _run_in_maintenance,
}
