"""The jobs of reports: rendering, delivery and clean-up."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from campshub.core.db.session import Session
from campshub.core.jobs.registry import Queue, Run, Step, external_job, stepped_job
from campshub.core.jobs.schedule import Every, scheduled
from campshub.reports.service import cleanup, delivery, rendering, schedules


@stepped_job("reports.render", queue=Queue.REPORTS)
def render(session: Session, run: Run, position: dict[str, Any] | None, *, report_id: str) -> Step:
    """Render a report in steps."""
    return rendering.advance(session, run, position, report_id=UUID(report_id))


@external_job("reports.sweep")
def sweep(run: Run, *, report_id: str) -> None:
    """Delete the files in the storage that a report no longer needs."""
    cleanup.sweep_one(run, UUID(report_id))


@external_job("reports.send")
def send(run: Run, *, report_id: str, user_id: str) -> None:
    """Send a recipient the link to a report."""
    delivery.send(run, report_id=UUID(report_id), user_id=UUID(user_id))


@external_job("reports.make_due")
def make_due(run: Run) -> None:
    """Enqueue the reports of the schedules that are due."""
    schedules.make_due(run.services, datetime.now(UTC))


@external_job("reports.cleanup", limit_s=1800)
def clean_up(run: Run) -> None:
    """Remove expired reports, and files that belong to no report."""
    cleanup.expire(datetime.now(UTC))
    cleanup.sweep_orphans(run.services)


scheduled("reports.make_due", Every(minutes=1))
scheduled("reports.cleanup", Every(minutes=60))
