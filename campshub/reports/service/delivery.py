"""E-mails about reports. They contain a link, never the file: a link can be revoked, an e-mail cannot."""

from uuid import UUID

from sqlalchemy import select

from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.jobs.registry import Run
from campshub.core.mail import Email
from campshub.core.security.permissions import Permission
from campshub.reports import links
from campshub.reports.access_snapshot import AccessSnapshot
from campshub.reports.kinds import all_kinds
from campshub.reports.models import Report, ReportSchedule
from campshub.reports.queries.reports import address, may_read
from campshub.reports.queries.schedules import email_of, organization_of
from campshub.reports.service.rendering import Refused, principal_of


def send(run: Run, *, report_id: UUID, user_id: UUID) -> None:
    """E-mail a recipient the link to a report, if they may read its data now."""
    with unit_of_work(organization_id=run.organization_id, user_id=user_id, read_only=True) as session:
        try:
            principal = principal_of(session.unit.caller_row, run.organization_id, user_id, None)
        except Refused:
            return
        found = session.execute(
            select(Report.kind, Report.expires_at, Report.state, ReportSchedule.name)
            .join(
                ReportSchedule,
                (ReportSchedule.organization_id == Report.organization_id) & (ReportSchedule.id == Report.schedule_id),
            )
            .where(Report.organization_id == run.organization_id, Report.id == report_id)
        ).one_or_none()
        access = AccessSnapshot.of(session, principal)
        email = email_of(session, user_id)
        organization = organization_of(session, run.organization_id)
    if found is None or found.state != "ready" or email is None:
        return
    if not principal.may(Permission.REPORTS_READ) or not may_read(principal, found.kind):
        return
    link = links.Link(run.organization_id, report_id, user_id, found.expires_at, access.digest())
    url = run.services.settings.public_url + address(run.services, link)
    title = all_kinds()[found.kind].title
    text = (
        f"{title}, {organization.name}. Download it here until {found.expires_at:%Y-%m-%d %H:%M} UTC:\n\n{url}\n\n"
        "The link is only for you: please do not pass it on. It stops working when you may see less than today."
        "\n\nCampsHub\n"
    )
    run.services.mailer.send(Email(run.id, email, f"{found.name} ({organization.name})", text, run.created_at))
