"""Requesting and removing reports."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import and_, select, text

from campshub.core.db.models import new_id
from campshub.core.db.session import Session
from campshub.core.db.writes import Versions, lock
from campshub.core.errors import Conflict
from campshub.core.jobs.models import Job
from campshub.core.jobs.store import enqueue
from campshub.core.security.principal import Principal
from campshub.core.service_base import Services
from campshub.reports.models import Report
from campshub.reports.parameters import checked, kind_for, require_printable, require_seen, resolved
from campshub.reports.queries.visibility import reach_of, reports_of

# Concurrent requests of one person are counted one after the other.
_LOCK_PERSON = text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))")


class TooManyUnderWay(Conflict):
    """Too many of your reports are in progress; wait for one of them, or cancel it."""

    code = "too_many_under_way"
    default_detail = "Too many of your reports are in progress; wait for one of them, or cancel it."


def request_report(
    session: Session,
    principal: Principal,
    services: Services,
    *,
    kind: str,
    format: str,
    parameters: Mapping[str, Any],
    now: datetime,
) -> Report:
    """Request a report; it is made in the background.

    :raises KindNotYours: the principal may not read the data of this kind.
    :raises Invalid: the parameters do not fit the kind.
    :raises UnknownReference: the parameters name something that the principal does not see.
    :raises TooManyRows: the report is a PDF and has more rows than allowed.
    :raises TooManyUnderWay: the principal has the maximum number of unfinished reports.
    """
    found = kind_for(principal, kind)
    arguments = resolved(found, checked(found, parameters), principal.today(now))
    require_seen(found, session, principal, arguments)
    if format == "pdf":
        require_printable(session, principal, found, arguments, most=services.settings.report_pdf_rows)
    _require_few(session, principal, most=services.settings.report_most_under_way)
    return enqueue_report(session, principal, services, kind=kind, format=format, values=arguments.values, now=now)


def _require_few(session: Session, principal: Principal, *, most: int) -> None:
    """Limit a person's unfinished reports, so that they do not block the workers for everyone else."""
    session.execute(_LOCK_PERSON, {"name": f"reports of {principal.user_id}"})
    unfinished = (
        select(Report.id)
        .join(Job, and_(Job.organization_id == Report.organization_id, Job.id == Report.job_id))
        .where(Report.organization_id == principal.organization_id, Report.user_id == principal.user_id)
        .where(Report.state == "under_way", Job.state.in_(("queued", "running")))
        .limit(most)
    )
    if len(session.scalars(unfinished).all()) >= most:
        raise TooManyUnderWay


def enqueue_report(
    session: Session,
    principal: Principal,
    services: Services,
    *,
    kind: str,
    format: str,
    values: Mapping[str, Any],
    now: datetime,
    schedule_id: UUID | None = None,
    report_id: UUID | None = None,
) -> Report:
    """Insert a report's row and enqueue its rendering."""
    report_id = report_id or new_id()
    report = Report(
        id=report_id,
        user_id=principal.user_id,
        api_key_id=principal.api_key_id,
        with_key=principal.api_key_id is not None,
        schedule_id=schedule_id,
        job_id=enqueue(session, "reports.render", report_id=str(report_id)),
        kind=kind,
        format=format,
        parameters=dict(values),
        notes=[],
        expires_at=now + timedelta(days=services.settings.report_days),
    )
    session.add(report)
    return report


def remove(session: Session, principal: Principal, *, report_id: UUID, expected: Versions) -> None:
    """Remove a report and its file.

    :raises NotFound: the principal sees no such report.
    :raises PreconditionFailed: it has another version than the caller expects.
    """
    seen = reports_of(principal, reach_of(principal), principal.api_key_id)
    forget(session, lock(session, principal, Report, report_id, seen, expected=expected))


def remove_all(session: Session, organization_id: UUID) -> int:
    """Remove every report of an organization, for example when a person in them is erased; return how many."""
    reports = session.scalars(select(Report).where(Report.organization_id == organization_id)).all()
    for report in reports:
        forget(session, report)
    return len(reports)


def forget(session: Session, report: Report) -> None:
    """Delete a report's row and enqueue the deletion of its files."""
    session.delete(report)
    enqueue(session, "reports.sweep", report_id=str(report.id))
