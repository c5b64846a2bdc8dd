"""The job that ends visits of which no one has checked out."""

from campshub.check_ins.service import visits
from campshub.core.db.session import Session
from campshub.core.jobs.registry import Run, job
from campshub.core.jobs.schedule import Every, scheduled


@job("check_ins.end_visits", system=True)
def end_visits(session: Session, run: Run) -> None:
    """End the open gym visits whose automatic end has passed."""
    visits.end_forgotten(session, now=run.created_at)


scheduled("check_ins.end_visits", Every(minutes=5))
