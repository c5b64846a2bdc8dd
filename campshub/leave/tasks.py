"""The jobs of leave."""

from datetime import UTC, datetime
from uuid import UUID

from campshub.core.jobs.registry import Run, external_job
from campshub.core.jobs.schedule import Daily, scheduled
from campshub.leave.service import attachments


@external_job("leave.sweep")
def sweep(run: Run, *, leave_request_id: str) -> None:
    """Delete the files in the storage that a request no longer needs."""
    attachments.sweep(run, UUID(leave_request_id))


@external_job("leave.cleanup", limit_s=1800)
def clean_up(run: Run) -> None:
    """Remove old attachments, and files that belong to no request."""
    attachments.expire(datetime.now(UTC).date())
    attachments.sweep_orphans(run.services)


scheduled("leave.cleanup", Daily(hour=2, minute=30))
