"""Run the pending jobs of one organization only: the outbox of the tests has jobs of many others."""

from uuid import UUID

from sqlalchemy import select

from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.jobs.models import OutboxMessage
from campshub.core.jobs.runner import Outcome, run_one


def run_pending(app, organization_id: UUID, job: str) -> list[Outcome]:
    """Run an organization's pending messages of one job, and return their outcomes."""
    pending = select(OutboxMessage.id).where(
        OutboxMessage.organization_id == organization_id,
        OutboxMessage.job == job,
        OutboxMessage.finished_at.is_(None),
    )
    with app.app_context():
        with unit_of_work(system=True, read_only=True) as session:
            ids = session.scalars(pending).all()
        return [run_one(app.extensions["campshub"], organization_id, message_id) for message_id in ids]
