"""The jobs of timetables: sessions are created ahead, and follow changes of calendars."""

from uuid import UUID

from campshub.core.jobs.registry import MINUTE_S, Queue, Run, external_job
from campshub.core.jobs.schedule import Every, scheduled
from campshub.timetables.service import ahead, calendars


@external_job("timetables.generate", queue=Queue.MAINTENANCE, limit_s=30 * MINUTE_S)
def generate(run: Run) -> None:  # noqa: ARG001 - every job takes its run
    """Create the sessions of all organizations ahead; sessions that exist stay as they are."""
    _, failed = ahead.create_all()
    if failed:  # the retry does the rest
        raise RuntimeError(f"{failed} batches of groups failed; the log says why")


@external_job("timetables.apply_calendar", limit_s=10 * MINUTE_S)
def apply_calendar(run: Run, *, calendar_id: str) -> None:
    """Remove the sessions that a changed calendar leaves out, and create those that it allows."""
    calendars.apply_to_groups(run.organization_id, UUID(calendar_id))


scheduled("timetables.generate", Every(minutes=60))
