"""Running what is owed: claim a message, do its job in the way of its kind, and note what became of it.

The database alone decides. Whatever calls a worker (the broker, the relay, a command) may call it twice or too late: a
message that is not due, is done, or is at work elsewhere is not claimed. Whoever dies leaves a claim that runs out.
What fails comes again later and later, and after the fifth time it is dead, until somebody replays it.
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
from campshub.core.observe.trace import Trace, at_work
from campshub.core.service_base import Services

log = logging.getLogger(__name__)

MOST_ATTEMPTS = 5
_GROWTH = 4
# For so long a job of many steps goes on before it lets others have their turn.
SLICE_S = 20.0
BUSY_AGAIN_S = 60.0
_LOCK = text("SELECT pg_try_advisory_lock(hashtextextended('job:' || :job, 0))")


class ClaimRenewal(contextlib.AbstractContextManager["ClaimRenewal"]):
    """Renews a claim, thrice in the time that it holds, from a thread of its own."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._seconds = run.services.settings.job_claim_s
        self._is_over = threading.Event()
        self._app = current_app._get_current_object()  # type: ignore[attr-defined] # noqa: SLF001 - the name is public
        self._thread = threading.Thread(target=self._renew, name=f"keeps {run.job}", daemon=True)

    def __enter__(self) -> Self:
        """Begin to renew."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Renew no more, and wait until a renewal that is at work has ended."""
        self._is_over.set()
        self._thread.join()

    def _renew(self) -> None:
        while not self._is_over.wait(self._seconds / 3):
            try:
                with self._app.app_context(), unit_of_work(system=True) as session:
                    store.extend_claim(session, self._run, seconds=self._seconds)
            except store.ClaimLost:
                return
            except Exception:  # tried again in a moment; a claim that is lost meanwhile writes nothing
                log.exception("a claim could not be renewed: %s", self._run.id)


class Outcome(StrEnum):
    """What became of a call."""

    NOTHING = "nothing"  # there was nothing to do: it is done, not due, or at work elsewhere
    DONE = "done"
    MORE = "more"  # a job of many steps has let others have their turn
    LATER = "later"
    FAILED = "failed"
    DEAD = "dead"
    LOST = "lost"  # the claim was over; somebody else has it


@dataclass
class RunTally:
    """What became of the messages that were due."""

    done: int = 0
    failed: int = 0
    dead: int = 0


class Cancelled(Exception):
    """Whoever asked for the job does not want it any more."""


def run_due(services: Services, *, most: int = 1_000) -> RunTally:
    """Run what is due in this process, one message after the other, until nothing is."""
    tally = RunTally()
    for _ in range(most):
        run = _claim(services, lambda session, given: store.claim_next(session, **given))
        if run is None:
            break
        outcome = _run(run)
        tally.done += outcome is Outcome.DONE
        tally.failed += outcome in {Outcome.FAILED, Outcome.LATER}
        tally.dead += outcome is Outcome.DEAD
    return tally


def run_one(services: Services, organization_id: UUID, message_id: UUID) -> Outcome:
    """Run one message, if it is due and nobody has it."""
    run = _claim(services, lambda session, given: store.claim(session, organization_id, message_id, **given))
    if run is None:
        return Outcome.NOTHING
    outcome = _run(run)
    if outcome is Outcome.MORE:
        services.sender.send([(organization_id, message_id, run.job)])
    return outcome


def _claim(services: Services, claim: Callable[[Session, dict[str, Any]], AnyRow | None]) -> Run | None:
    given = {"jobs": registry.job_names(), "claim_s": services.settings.job_claim_s}
    with unit_of_work(system=True) as session:
        row = claim(session, given)
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
    """Run a claimed message, and note what became of it."""
    kind = registry.definition_of(run.job)
    if kind is None:
        return Outcome.NOTHING
    metrics.begun(run)
    token = at_work.set(Trace(f"job {run.job}", run.trace_id, str(run.id)))
    started = time.perf_counter()
    try:
        outcome = _try(kind, run)
    finally:
        at_work.reset(token)
    metrics.ended(run, outcome, time.perf_counter() - started)
    return outcome


def _try(kind: JobDefinition, run: Run) -> Outcome:
    try:
        if run.attempt > MOST_ATTEMPTS:  # each of them died with its worker
            raise TimeoutError("its workers have died")  # noqa: TRY301 - it is told like any other failure
        return _SHAPES[kind.shape](kind, run)
    except store.ClaimLost:
        log.warning("a job was taken over: %s %s", run.job, run.id)
        return Outcome.LOST
    except (RetryLater, CircuitOpen) as later:
        return _come_later(run, later.seconds)
    except Cancelled:
        _end(run, "cancelled")
        return Outcome.DONE
    except Exception as error:
        log.exception("a job failed: %s %s", run.job, run.id)
        return _fail(run, type(error).__name__)


def _come_later(run: Run, seconds: float) -> Outcome:
    _note(run, lambda session: store.retry_later(session, run, seconds=seconds, problem=None, counts=False))
    return Outcome.LATER


def _fail(run: Run, problem: str) -> Outcome:
    if run.attempt >= MOST_ATTEMPTS:
        _end(run, "failed", problem)
        return Outcome.DEAD
    wait = run.services.settings.job_retry_s * _GROWTH ** (run.attempt - 1)
    wait *= random.uniform(0.9, 1.1)  # noqa: S311 - so that what failed together does not come again together
    _note(run, lambda session: store.retry_later(session, run, seconds=wait, problem=problem, counts=True))
    return Outcome.FAILED


def _end(run: Run, state: str, problem: str | None = None) -> None:
    """End a message without its effect: given up, or not wanted any more."""

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
    """Note something of a message, unless it is somebody else's by now."""
    try:
        with unit_of_work(system=True, organization_id=run.organization_id) as session:
            note(session)
    except store.ClaimLost:
        log.warning("a job was taken over: %s %s", run.job, run.id)


def _run_at_once(kind: JobDefinition, run: Run) -> Outcome:
    """Do it in one unit of work, which ends the message before all else: so nobody else can begin it meanwhile."""
    unit = run.unit(is_system=kind.is_system)
    try:
        with closing(open_session(unit)) as session:
            store.finish(session, run)
            kind.function(session, run, **run.arguments)
            commit_with_effects(session, run.services)
    finally:
        run_separate_transactions(unit)
    return Outcome.DONE


def _run_outward(kind: JobDefinition, run: Run) -> Outcome:
    """Act outside the database, and note that it was done; whoever dies between the two does it again."""
    with ClaimRenewal(run):
        kind.function(run, **run.arguments)
    _note(run, lambda session: store.finish(session, run))
    return Outcome.DONE


def _run_in_maintenance(kind: JobDefinition, run: Run) -> Outcome:
    with partitions.maintenance(run.services.settings) as connection:
        if not connection.scalar(_LOCK, {"job": run.job}):
            raise RetryLater(BUSY_AGAIN_S)
        with ClaimRenewal(run):
            kind.function(connection, run, **run.arguments)
    _note(run, lambda session: store.finish(session, run))
    return Outcome.DONE


def _run_steps(kind: JobDefinition, run: Run) -> Outcome:
    until = time.monotonic() + SLICE_S
    position = _begin(run)
    while True:
        step, gives_way = _step(kind, run, position, until)
        if step.finished:
            return Outcome.DONE
        if gives_way:
            return Outcome.MORE
        run.attempt, position = 1, step.position


def _begin(run: Run) -> dict[str, Any] | None:
    """Return where the job stands, and note that it is at work.

    :raises Cancelled: it is not wanted any more.
    """
    with unit_of_work(system=True, organization_id=run.organization_id) as session:
        job = _job_of(session, run)
        if job.state == "queued":
            job.state, job.started_at = "running", job.started_at or session.unit.now
        return job.position


def _job_of(session: Session, run: Run) -> Job:
    """Return the row of a job, made where a command or the schedule owed it.

    :raises Cancelled: it is not wanted any more.
    """
    job = session.get(Job, (run.organization_id, run.id), with_for_update=True)
    if job is None:
        job = Job(organization_id=run.organization_id, id=run.id, job=run.job, user_id=run.user_id, state="queued")
        session.add(job)
    if job.cancel_requested_at is not None or job.state in ENDED:
        raise Cancelled
    return job


def _step(kind: JobDefinition, run: Run, position: dict[str, Any] | None, until: float) -> tuple[Step, bool]:
    """Do one step and save where it ended, in one unit of work; tell, too, whether others have their turn now.

    The message is written last: that a claim still counts is true at the commit, or nothing of the step is.
    """
    unit = run.unit(is_system=kind.is_system)
    try:
        with closing(open_session(unit)) as session:
            with ClaimRenewal(run):
                step: Step = kind.function(session, run, position, **run.arguments)
            gives_way = time.monotonic() >= until
            job = _job_of(session, run)
            job.position, job.done = step.position, step.done
            job.total = step.total if step.total is not None else job.total
            if step.finished:
                job.state, job.result, job.finished_at = "succeeded", step.result, datetime.now(UTC)
                store.finish(session, run)
            elif gives_way:
                store.yield_claim(session, run)
            else:
                store.advance(session, run, seconds=run.services.settings.job_claim_s)
            commit_with_effects(session, run.services)
    finally:
        run_separate_transactions(unit)
    return step, gives_way


_SHAPES: dict[JobType, Callable[[JobDefinition, Run], Outcome]] = {
    JobType.ONE: _run_at_once,
    JobType.STEPS: _run_steps,
    JobType.OUTWARD: _run_outward,
    JobType.MAINTENANCE: _run_in_maintenance,
}
