"""E-mails about new alerts. They count the students and link to the list; they name no one."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import select

from campshub.accounts.models import Organization, User
from campshub.analytics.queries import alerts as reads
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.jobs.registry import Run
from campshub.core.mail import Email
from campshub.core.security.authorization import granted
from campshub.core.security.permissions import Permission
from campshub.core.security.principal import Principal

_ABOUT = {
    "rate": "the attendance rate is below the limit",
    "absences": "several sessions in a row were missed",
    "days_away": "the last visit was long ago",
}


def send(run: Run, *, user_id: UUID, raised_at: datetime) -> None:
    """E-mail a member of staff how many alerts were raised at an instant, of those that they may see now."""
    with unit_of_work(organization_id=run.organization_id, user_id=user_id, read_only=True) as session:
        caller_row = session.unit.caller_row
        if caller_row is None or caller_row.role is None or caller_row.organization_status != "active":
            return
        principal = Principal(
            user_id, run.organization_id, caller_row.role, caller_row.time_zone or "UTC", own_grant=granted(caller_row)
        )
        if not principal.may(Permission.ATTENDANCE_READ):
            return
        counts = reads.raised(session, principal, at=raised_at)
        email = session.scalar(select(User.email).where(User.id == user_id, User.status == "active"))
        organization = session.scalar(select(Organization.name).where(Organization.id == run.organization_id))
    if not counts or email is None:
        return
    lines = "\n".join(f"- {counts[rule]}: {about}" for rule, about in _ABOUT.items() if rule in counts)
    total = sum(counts.values())
    url = f"{run.services.settings.public_url}/api/attendance/alerts/?open=true"
    text = (
        f"{organization}: new attendance alerts.\n\n{lines}\n\nThe students, and what was found:\n\n{url}\n\n"
        "Each alert is reported once. It stays open until the rule is no longer met.\n\nCampsHub\n"
    )
    subject = f"{total} new attendance alert{'s' if total > 1 else ''} ({organization})"
    run.services.mailer.send(Email(run.id, email, subject, text, run.created_at))
