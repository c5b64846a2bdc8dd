"""What the platform does by itself: folding the epoch and figures, warming, and deleting what has had its time."""

from datetime import date
from typing import Any
from uuid import UUID

from flask import current_app

from campshub.core.cache.warming import Warmer
from campshub.core.db import epoch, folding
from campshub.core.db.expiry import clean, expires, expiries
from campshub.core.db.rollups import rollups
from campshub.core.db.session import Session
from campshub.core.http.idempotency import IdempotencyKey
from campshub.core.jobs.kinds import Queue, Run, Step, job, outward_job, stepped_job
from campshub.core.jobs.models import Job, OutboxMessage
from campshub.core.jobs.outbox import enqueue
from campshub.core.jobs.schedule import Daily, Every, scheduled

CLEANED_AT_ONCE = 5_000
WARMS_S = 90.0  # within the job's limit

expires(IdempotencyKey, "created_at < now() - INTERVAL '24 hours'")
# Longer than half a week: a slot of the schedule is claimed by its message.
expires(OutboxMessage, "finished_at < now() - INTERVAL '14 days'")
expires(Job, "finished_at < now() - INTERVAL '30 days'")


@job("cache.fold", system=True, queue=Queue.MAINTENANCE)
def fold(session: Session, run: Run) -> None:  # noqa: ARG001 - every job is handed its run
    """Fold the rows of writes that could not be stamped into the epoch's base."""
    epoch.fold(session)


@stepped_job("cleanup.expired", system=True, queue=Queue.MAINTENANCE)
def clean_expired(session: Session, run: Run, position: dict[str, Any] | None) -> Step:  # noqa: ARG001 - see above
    """Delete some rows of one table that have had their time; after its last ones comes the next table."""
    position = position or {"table": 0, "deleted": 0}
    number, every = position["table"], expiries()
    count = clean(session, every[number], most=CLEANED_AT_ONCE)
    deleted = position["deleted"] + count
    following = number if count == CLEANED_AT_ONCE else number + 1
    if following == len(every):
        return Step(finished=True, done=following, total=len(every), result={"deleted": deleted})
    return Step({"table": following, "deleted": deleted}, done=following, total=len(every))


@job("rollups.fold", system=True, queue=Queue.MAINTENANCE)
def fold_rollups(session: Session, run: Run) -> None:  # noqa: ARG001 - see above
    """Count figures anew that have become stale; what is too much for one transaction goes on at once."""
    if not folding.fold_due(session).is_whole:
        enqueue(session, "rollups.fold")


@stepped_job("rollups.rebuild", system=True, queue=Queue.MAINTENANCE)
def rebuild_rollups(
    session: Session,
    run: Run,  # noqa: ARG001 - see above
    position: dict[str, Any] | None,
    *,
    organization_id: str | None = None,
    first: str | None = None,
    last: str | None = None,
) -> Step:
    """Count one month of one organization's figures anew; after the last one the job is finished."""
    position = position or {"after": ["", "", ""], "written": 0, "removed": 0}
    steps = folding.steps(
        session,
        organization_id=UUID(organization_id) if organization_id else None,
        first=date.fromisoformat(first) if first else None,
        last=date.fromisoformat(last) if last else None,
    )
    left = [step for step in steps if [str(part) for part in step] > position["after"]]
    if left:
        organization, name, month = left[0]
        counted = folding.rebuild(session, rollups()[name], organization, month)
        sums = {"written": position["written"] + counted.written, "removed": position["removed"] + counted.removed}
        position = {"after": [str(part) for part in left[0]], **sums}
    result = {"written": position["written"], "removed": position["removed"]}
    done = len(steps) - len(left[1:])
    return Step(position, done, len(steps), finished=len(left) <= 1, result=result if len(left) <= 1 else None)


@outward_job("cache.warm", queue=Queue.MAINTENANCE)
def warm(run: Run) -> None:
    """Make the answers that are asked most, for those who ask for them."""
    settings = run.platform.settings
    warmer = Warmer(current_app, run.platform, settings.cache_warm_per_second, seconds=WARMS_S)
    warmer.warm(most=settings.cache_warm_most)


scheduled("cache.fold", Daily(hour=3, minute=30))
scheduled("cache.warm", Every(minutes=5))
scheduled("cleanup.expired", Every(minutes=60))
scheduled("rollups.fold", Every(minutes=1))
