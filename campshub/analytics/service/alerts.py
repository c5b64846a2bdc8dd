"""Raise, resolve and acknowledge alerts about students at risk."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import select

from campshub.analytics.models import AttendanceAlert
from campshub.analytics.queries import alerts as reads
from campshub.analytics.queries import at_risk
from campshub.core.db import writes
from campshub.core.db.models import PLATFORM_ID
from campshub.core.db.session import Session
from campshub.core.db.writes import lock
from campshub.core.jobs.store import enqueue
from campshub.core.security.authorization import NotForKeys
from campshub.core.security.permissions import Role
from campshub.core.security.principal import Principal


@dataclass(frozen=True)
class Scan:
    """The result of a scan: how many alerts were raised, and how many were resolved."""

    raised: int
    resolved: int


def scan(session: Session, organization_id: UUID, *, now: datetime) -> Scan:
    """Raise an alert for each student and rule that is newly met, and resolve those that no longer are.

    There is one open alert for each student and rule: of two scans at once, the second one skips what the first has
    raised. Staff are notified of the alerts that this scan has raised, so of each once.
    """
    zone = reads.time_zone(session, organization_id)
    principal = Principal(PLATFORM_ID, organization_id, Role.ADMIN.value, zone)
    met = {
        (row["student_id"], reason["rule"]): reason
        for row in at_risk.every_at_risk(session, principal, today=principal.today(now))
        for reason in row["reasons"]
    }
    resolved = _resolve(session, organization_id, set(met), now)
    # PostgreSQL returns microseconds; the emails find the alerts of this scan by this instant.
    rows = [{"student_id": student_id, **reason, "raised_at": now} for (student_id, _), reason in sorted(met.items())]
    raised = len(writes.insert(session, AttendanceAlert, rows, on_conflict="DO NOTHING"))
    if raised:
        for user_id in reads.recipients(session, principal, on=principal.today(now), at=now):
            enqueue(session, "analytics.send_digest", user_id=str(user_id), raised_at=now.isoformat())
    return Scan(raised, resolved)


def _resolve(session: Session, organization_id: UUID, met: set[tuple[UUID, str]], now: datetime) -> int:
    """Resolve the open alerts whose rule is not met any more."""
    alert = AttendanceAlert
    open_alerts = session.scalars(
        select(alert)
        .where(alert.organization_id == organization_id, alert.resolved_at.is_(None))
        .order_by(alert.id)
        .with_for_update()
    ).all()
    ended = [one for one in open_alerts if (one.student_id, one.rule) not in met]
    for one in ended:
        one.resolved_at = now
    session.flush()
    return len(ended)


def acknowledge(session: Session, principal: Principal, *, attendance_alert_id: UUID, now: datetime) -> AttendanceAlert:
    """Record that a member of staff has seen an alert; the first one stays recorded.

    :raises NotForKeys: the caller is an API key, and no person.
    :raises NotFound: the principal sees no such alert.
    """
    if principal.api_key_id is not None:
        raise NotForKeys
    alert = lock(session, principal, AttendanceAlert, attendance_alert_id)
    if alert.acknowledged_at is None:
        alert.acknowledged_at, alert.acknowledged_by = now, principal.user_id
        session.flush()
    return alert
