"""Removing expired reports, and files that belong to no report."""

import logging
import re
from datetime import datetime
from uuid import UUID

from sqlalchemy import Select, select

from campshub.core.db.session import Session
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.jobs.registry import Run
from campshub.core.service_base import Services
from campshub.core.storage import path_of
from campshub.reports.models import Report
from campshub.reports.service import requests
from campshub.reports.service.rendering import sweep

log = logging.getLogger(__name__)

MOST_AT_ONCE = 500
_ID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def expire(now: datetime) -> int:
    """Remove the expired reports; return how many."""
    with unit_of_work(system=True, read_only=True) as session:
        expired = session.execute(
            select(Report.organization_id, Report.id).where(Report.expires_at <= now).limit(MOST_AT_ONCE)
        ).all()
    of: dict[UUID, list[UUID]] = {}
    for row in expired:
        of.setdefault(row.organization_id, []).append(row.id)
    for organization_id, ids in of.items():
        with unit_of_work(organization_id=organization_id) as session:
            for report in session.scalars(_reports_by_id(organization_id, ids)):
                requests.forget(session, report)
    return len(expired)


def _reports_by_id(organization_id: UUID, ids: list[UUID]) -> Select[Report]:
    return select(Report).where(Report.organization_id == organization_id, Report.id.in_(ids))


def sweep_one(run: Run, report_id: UUID) -> None:
    """Delete the files that a report no longer needs: parts and failed attempts, or all if it is refused or removed."""
    with unit_of_work(organization_id=run.organization_id, read_only=True) as session:
        row = _row(session, run.organization_id, report_id)
    if row is None or row.state == "refused":
        sweep(run.services, run.organization_id, report_id)
    elif row.file is not None:
        sweep(run.services, run.organization_id, report_id, but=row.file)


def _row(session: Session, organization_id: UUID, report_id: UUID) -> Report | None:
    return session.scalars(_reports_by_id(organization_id, [report_id])).one_or_none()


def sweep_orphans(services: Services) -> int:
    """Delete files of reports without a row, left by erased organizations and by workers that died after a removal."""
    swept = 0
    for name in filter(_ID.fullmatch, services.storage.folder("")):
        swept += _sweep_organization(services, UUID(name))
    return swept


def _sweep_organization(services: Services, organization_id: UUID) -> int:
    names = services.storage.folder(f"{organization_id}/reports")
    if not names:
        return 0
    with unit_of_work(system=True, read_only=True, organization_id=organization_id) as session:
        present = set(session.scalars(select(Report.id).where(Report.organization_id == organization_id)))
    of_reports = [name for name in names if _ID.fullmatch(name)]  # other names are not ours
    gone = [name for name in of_reports if UUID(name) not in present]
    for name in gone:
        services.storage.delete_folder(path_of(organization_id, "reports", name))
    return len(gone)
