"""The jobs that refresh rollups and warm the cache."""

from datetime import date
from typing import Any
from uuid import UUID

from flask import current_app

from campshub.core.db.session import Session
from campshub.core.http.warming import Warmer
from campshub.core.jobs.registry import Queue, Run, Step, external_job, job, stepped_job
from campshub.core.jobs.schedule import Every, scheduled
from campshub.core.jobs.store import enqueue
from campshub.core.rollups import refresh
from campshub.core.rollups.definition import rollups
from campshub.core.services import ServiceContainer

WARMS_S = 90.0  # less than the job's time limit


@job("rollups.fold", system=True, queue=Queue.MAINTENANCE)
def fold_rollups(session: Session, run: Run) -> None:  # noqa: ARG001 - every job takes its run
    """Refresh stale rollups; if they are too many for one transaction, enqueue the next run at once."""
    if not refresh.refresh_due(session).is_whole:
        enqueue(session, "rollups.fold")


@stepped_job("rollups.rebuild", system=True, queue=Queue.MAINTENANCE)
def rebuild_rollups(
    session: Session,
    run: Run,  # noqa: ARG001 - see above
    position: dict[str, Any] | None,
    *,
    organization_id: str | None = None,
    first_date: str | None = None,
    last_date: str | None = None,
) -> Step:
    """Rebuild one month of one organization's rollup per step, until all are done."""
    position = position or {"after": ["", "", ""], "written": 0, "removed": 0}
    steps = refresh.steps(
        session,
        organization_id=UUID(organization_id) if organization_id else None,
        first_date=date.fromisoformat(first_date) if first_date else None,
        last_date=date.fromisoformat(last_date) if last_date else None,
    )
    left = [step for step in steps if [str(part) for part in step] > position["after"]]
    if left:
        organization, name, month = left[0]
        counted = refresh.rebuild(session, rollups()[name], organization, month)
        sums = {"written": position["written"] + counted.written, "removed": position["removed"] + counted.removed}
        position = {"after": [str(part) for part in left[0]], **sums}
    result = {"written": position["written"], "removed": position["removed"]}
    done = len(steps) - len(left[1:])
    return Step(position, done, len(steps), finished=len(left) <= 1, result=result if len(left) <= 1 else None)


@external_job("cache.warm", queue=Queue.MAINTENANCE)
def warm(run: Run) -> None:  # noqa: ARG001 - every job takes its run
    """Render the most requested responses into the cache, for the views that request them."""
    services: ServiceContainer = current_app.extensions["campshub"]
    settings = services.settings
    warmer = Warmer(current_app, services, settings.cache_warm_per_second, seconds=WARMS_S)
    warmer.warm(most=settings.cache_warm_most)


scheduled("cache.warm", Every(minutes=5))
scheduled("rollups.fold", Every(minutes=1))
