"""Reads of reports, with their progress and a download link."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import and_, case, func, literal, select

from campshub.core.db.prepared import AnySelect, prepared
from campshub.core.db.session import Session
from campshub.core.errors import NotFound
from campshub.core.jobs.models import Job
from campshub.core.paging import Page, PageRequest
from campshub.core.security.principal import Principal
from campshub.core.service_base import Services
from campshub.reports import links
from campshub.reports.access_snapshot import AccessSnapshot
from campshub.reports.kinds import all_kinds
from campshub.reports.models import Report
from campshub.reports.queries.visibility import Reach, reach_of, reports_of

_STATE = case(
    (Report.state != "under_way", Report.state),
    (Job.state.in_(("queued", "running", "cancelled")), Job.state),
    else_=literal("failed"),
)
COLUMNS = (
    Report.id,
    Report.user_id,
    Report.schedule_id,
    Report.job_id,
    Report.kind,
    Report.format,
    Report.parameters,
    _STATE.label("state"),
    func.coalesce(Report.rows, Job.done, 0).label("done"),
    func.coalesce(Report.rows, Job.total).label("total"),
    Report.bytes,
    Report.notes,
    func.coalesce(Report.problem, Job.problem).label("problem"),
    Report.ready_at,
    Report.expires_at,
    Report.created_at,
    Report.version,
)
_OF_JOB = and_(Job.organization_id == Report.organization_id, Job.id == Report.job_id)


def list_reports(session: Session, principal: Principal, *, kind: str | None, page: PageRequest) -> Page:
    """List the reports that the principal sees, newest first by default."""
    key = principal.api_key_id
    query = _listed(principal, reach=reach_of(principal), api_key_id=key, kind=kind, page=page)
    return page.read(session, query)


@prepared
def _listed(principal: Principal, *, reach: Reach, api_key_id: Any, kind: Any, page: PageRequest) -> AnySelect:
    rows = select(*page.choose(COLUMNS)).select_from(Report).outerjoin(Job, _OF_JOB)
    rows = rows.where(reports_of(principal, reach, api_key_id))
    if kind is not None:
        rows = rows.where(Report.kind == kind)
    return page.ordered(rows, order=(Report.id,))


def get_report(
    session: Session, principal: Principal, services: Services, report_id: UUID, *, now: datetime
) -> dict[str, Any]:
    """Return a report, with a link to its file if the principal may download it.

    :raises NotFound: the principal sees no such report.
    """
    query = _one(principal, reach=reach_of(principal), api_key_id=principal.api_key_id, report_id=report_id)
    row = session.execute(query).one_or_none()
    if row is None:
        raise NotFound
    values = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it
    return {**values, "download": _download(session, principal, services, values, now)}


@prepared
def _one(principal: Principal, *, reach: Reach, api_key_id: Any, report_id: UUID) -> AnySelect:
    found = select(*COLUMNS, Report.scope, Report.among).select_from(Report).outerjoin(Job, _OF_JOB)
    return found.where(reports_of(principal, reach, api_key_id), Report.id == report_id)


def _download(
    session: Session, principal: Principal, services: Services, report: Mapping[str, Any], now: datetime
) -> dict[str, Any] | None:
    """Return a new, short-lived link; None if the principal may no longer read the report's data."""
    until = min(now + timedelta(minutes=services.settings.report_link_minutes), report["expires_at"])
    if report["state"] != "ready" or until <= now or not may_read(principal, report["kind"]):
        return None
    if not AccessSnapshot.of(session, principal).covers(report["scope"], report["among"]):
        return None
    link = links.Link(principal.organization_id, report["id"], principal.user_id, until)
    return {"url": address(services, link), "expires_at": until}


def address(services: Services, link: links.Link) -> str:
    """Return the URL path of a file's download."""
    token = links.sign(services.settings.secret_key, link)
    return f"/api/reports/{link.report_id}/file/?token={token}"


def may_read(principal: Principal, kind: str) -> bool:
    """Return whether the principal may read the data of a kind of report."""
    known = all_kinds().get(kind)
    return known is not None and known.permissions <= principal.permissions
