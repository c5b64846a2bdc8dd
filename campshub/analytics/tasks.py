"""The jobs of analytics: find students at risk, and notify staff."""

from datetime import datetime
from uuid import UUID

from campshub.analytics.queries import alerts as reads
from campshub.analytics.service import alerts, digests
from campshub.core.db.session import Session
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.jobs.registry import Run, external_job, job
from campshub.core.jobs.schedule import Every, scheduled
from campshub.core.jobs.store import enqueue


@external_job("analytics.scan_due")
def scan_due(run: Run) -> None:  # noqa: ARG001 - every job takes its run
    """Enqueue a scan of each organization with rules or with open alerts."""
    with unit_of_work(system=True, read_only=True) as session:
        found = reads.organizations(session)
    for row in found:
        with unit_of_work(organization_id=row.id) as session:
            enqueue(session, "analytics.scan")


@job("analytics.scan")
def scan(session: Session, run: Run) -> None:
    """Raise and resolve an organization's alerts."""
    alerts.scan(session, run.organization_id, now=session.unit.now)


@external_job("analytics.send_digest")
def send_digest(run: Run, *, user_id: str, raised_at: str) -> None:
    """Notify a member of staff of new alerts."""
    digests.send(run, user_id=UUID(user_id), raised_at=datetime.fromisoformat(raised_at))


scheduled("analytics.scan_due", Every(minutes=360))
