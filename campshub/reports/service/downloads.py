"""Downloading a report's file with a signed link, if the link's user may still read it."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import select

from campshub.core.db.session import Session
from campshub.core.errors import NotFound
from campshub.core.http.responses import Download
from campshub.core.security.crypto import DecryptionFailed
from campshub.core.security.permissions import Permission, Scope
from campshub.core.security.principal import Principal
from campshub.core.security.signed_links import InvalidLink, LinkExpired
from campshub.core.security.stream_encryption import DecryptingReader
from campshub.core.service_base import Services
from campshub.core.storage import path_of
from campshub.reports import links
from campshub.reports.access_snapshot import AccessSnapshot
from campshub.reports.kinds import all_kinds
from campshub.reports.models import Report, ReportSchedule
from campshub.reports.queries.reports import may_read
from campshub.reports.queries.visibility import Reach, reach_of
from campshub.reports.row_store import file_identity
from campshub.reports.service.rendering import Refused, principal_of

MEDIA_TYPES = {
    "csv": "text/csv; charset=utf-8",
    "pdf": "application/pdf",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}


class FileExpired(LinkExpired):
    """The link or the report has expired; request the report again."""

    default_detail = "The link or the report has expired; request the report again."


def fetch(session: Session, services: Services, *, report_id: UUID, token: str, now: datetime) -> Download:
    """Return a report's file.

    :raises NotFound: the signature is not ours, or the link's user may not read the report any more.
    :raises FileExpired: the link or the report has expired, or the file is missing or cannot be decrypted.
    """
    try:
        link = links.read(services.settings.secret_key, token)
    except InvalidLink as error:
        raise NotFound from error
    if link.report_id != report_id:
        raise NotFound
    if link.expires_at <= now:
        raise FileExpired
    caller_row = session.enter(link.organization_id, link.user_id)
    try:
        principal = principal_of(caller_row, link.organization_id, link.user_id, None)
    except Refused as error:
        raise NotFound from error
    report = _readable_report(session, principal, link)
    if report.file is None or report.expires_at <= now:
        raise FileExpired
    path = path_of(link.organization_id, "reports", report_id, report.file)
    name = f"{all_kinds()[report.kind].title.lower().replace(' ', '-')}-{report.created_at:%Y-%m-%d}.{report.format}"
    try:
        identity = file_identity(link.organization_id, report_id, report.file)
        opened = DecryptingReader(services.storage.open_read(path), services.file_keys, identity)
        return Download(opened, MEDIA_TYPES[report.format], name, report.bytes)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError, DecryptionFailed) as error:
        raise FileExpired from error


def _readable_report(session: Session, principal: Principal, link: links.Link) -> Report:
    """Return the report of a link, if the link's user may still read it.

    :raises NotFound: they may not.
    """
    report = session.scalars(
        select(Report).where(Report.organization_id == principal.organization_id, Report.id == link.report_id)
    ).one_or_none()
    if report is None or not principal.may(Permission.REPORTS_READ) or not may_read(principal, report.kind):
        raise NotFound
    access = AccessSnapshot.of(session, principal)
    is_own = report.user_id == principal.user_id
    if link.is_emailed and not is_own:
        # Recipients get what the schedule's maker sees, but not if they see less now than when the e-mail was sent.
        is_unchanged = access.scope is Scope.ALL or access.digest() == link.access_digest
        if is_unchanged and str(principal.user_id) in _recipients(session, report):
            return report
    elif (is_own or reach_of(principal) is Reach.ALL) and access.covers(report.scope, report.among):
        return report
    raise NotFound


def _recipients(session: Session, report: Report) -> list[str]:
    own = ReportSchedule.organization_id == report.organization_id
    found = session.scalar(select(ReportSchedule.recipient_ids).where(own, ReportSchedule.id == report.schedule_id))
    return found or []
