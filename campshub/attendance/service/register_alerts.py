"""Alert trainers, and then admins, to registers that are not taken in time.

An alert is a row, and the e-mails are enqueued in the transaction that writes it: each person gets one e-mail, whatever
the number of runs. A session without a start has no such time.
"""

import logging
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, and_, exists, or_, select

from campshub.accounts.models import Membership, Organization, User
from campshub.attendance import emails
from campshub.attendance.models import AttendanceSession, RegisterAlert, RegisterVersion
from campshub.core.db import writes
from campshub.core.db.models import AnyRow
from campshub.core.db.session import Session
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.jobs.registry import Run
from campshub.core.jobs.store import enqueue
from campshub.core.security.permissions import Role
from campshub.students.models import Group, GroupTrainer

log = logging.getLogger(__name__)

# An older session is not alerted to any more, for example after the setting was made.
SINCE = timedelta(days=1)
AT_ONCE = 500
SEND = "attendance.send_register_alert"


def alert_registers(now: datetime) -> None:
    """Raise, escalate and resolve the alerts of all organizations; a repetition changes nothing."""
    o = Organization
    with unit_of_work(system=True, read_only=True) as session:
        rows = session.execute(
            select(o.id, o.time_zone, o.register_alert_after_minutes, o.register_alert_admins_after_minutes)
            .where(o.status == "active", o.register_alert_after_minutes.is_not(None))
            .order_by(o.id)
        ).all()
    for row in rows:
        try:
            with unit_of_work(organization_id=row.id) as session:
                _resolve(session, now)
                _raise(session, row, now)
                _escalate(session, row, now)
        except Exception:  # one organization must not stop the others
            log.exception("alerts of registers failed: %s", row.id)


def _raise(session: Session, organization: AnyRow, now: datetime) -> None:
    """Alert the trainers of the groups whose registers are late."""
    one = AttendanceSession
    before = now - timedelta(minutes=organization.register_alert_after_minutes)
    today = now.astimezone(ZoneInfo(organization.time_zone)).date()
    has_alert = and_(RegisterAlert.organization_id == one.organization_id, RegisterAlert.session_id == one.id)
    late = session.execute(
        select(one.id, one.group_id)
        .where(one.organization_id == organization.id, one.local_date.between(today - SINCE * 2, today))
        .where(one.starts_at <= before, one.starts_at > before - SINCE, one.group_id.is_not(None), *_not_taken())
        .where(~exists(select(1).select_from(RegisterAlert).where(has_alert).correlate(one)))
        .order_by(one.id)
        .limit(AT_ONCE)
    ).all()
    rows = [{"session_id": row.id, "trainers_at": now} for row in late]
    by_session = {row.id: row.group_id for row in late}
    new = {row.id for row in writes.insert(session, RegisterAlert, rows, on_conflict="DO NOTHING")}
    if not new:
        return
    alerted = session.scalars(select(RegisterAlert.session_id).where(RegisterAlert.id.in_(new))).all()
    trainers = session.execute(
        select(GroupTrainer.group_id, GroupTrainer.user_id).where(
            GroupTrainer.organization_id == organization.id,
            GroupTrainer.group_id.in_({by_session[session_id] for session_id in alerted}),
        )
    ).all()
    for session_id in alerted:
        _send(session, session_id, (row.user_id for row in trainers if row.group_id == by_session[session_id]))


def _escalate(session: Session, organization: AnyRow, now: datetime) -> None:
    """Alert the admins to registers that are still not taken."""
    minutes = organization.register_alert_admins_after_minutes
    if minutes is None:
        return
    one = RegisterAlert
    due = session.scalars(
        select(one)
        .where(one.organization_id == organization.id, one.resolved_at.is_(None), one.admins_at.is_(None))
        .where(one.trainers_at <= now - timedelta(minutes=minutes))
        .order_by(one.id)
        .limit(AT_ONCE)
        .with_for_update(skip_locked=True)
    ).all()
    if not due:
        return
    admins = session.scalars(
        select(Membership.user_id).where(
            Membership.organization_id == organization.id, Membership.role == Role.ADMIN, Membership.status == "active"
        )
    ).all()
    for alert in due:
        alert.admins_at = now
        _send(session, alert.session_id, admins)
    session.flush()


def _resolve(session: Session, now: datetime) -> None:
    """Resolve the alerts of registers that have been taken, and of sessions that are cancelled or closed."""
    one, meeting = RegisterAlert, AttendanceSession
    same = and_(meeting.organization_id == one.organization_id, meeting.id == one.session_id)
    taken = or_(meeting.status.not_in(("scheduled", "open")), _is_marked())
    over = exists(select(1).select_from(meeting).where(same, taken).correlate(one))
    for alert in session.scalars(
        select(one)
        .where(one.organization_id == session.unit.organization_id, one.resolved_at.is_(None), over)
        .order_by(one.id)
        .limit(AT_ONCE)
        .with_for_update(skip_locked=True)
    ):
        alert.resolved_at = now
    session.flush()


def _send(session: Session, session_id: UUID, user_ids: Iterable[UUID]) -> None:
    for user_id in user_ids:
        enqueue(session, SEND, session_id=str(session_id), user_id=str(user_id))


def _is_marked() -> ColumnElement[bool]:
    one = AttendanceSession
    same = and_(RegisterVersion.organization_id == one.organization_id, RegisterVersion.id == one.id)
    return exists(select(1).select_from(RegisterVersion).where(same).correlate(one))


def _not_taken() -> tuple[ColumnElement[bool], ...]:
    return AttendanceSession.status.in_(("scheduled", "open")), ~_is_marked()


def send(run: Run, *, session_id: UUID, user_id: UUID) -> None:
    """E-mail an alert, unless the register has been taken meanwhile or the user is no active member any more."""
    one = AttendanceSession
    with unit_of_work(organization_id=run.organization_id, read_only=True) as session:
        row: Any = session.execute(
            select(one.local_date, one.starts_at, Group.name, User.email, Organization.time_zone)
            .add_columns(Organization.name.label("organization"))
            .join(Group, and_(Group.organization_id == one.organization_id, Group.id == one.group_id))
            .join(Organization, Organization.id == one.organization_id)
            .join(Membership, and_(Membership.organization_id == one.organization_id, Membership.user_id == user_id))
            .join(User, User.id == Membership.user_id)
            .where(one.organization_id == run.organization_id, one.id == session_id, *_not_taken())
            .where(Membership.status == "active", User.status == "active")
        ).one_or_none()
    if row is None or row.starts_at is None:
        return
    email = emails.register_not_taken(
        run.id,
        to=row.email,
        organization=row.organization,
        group=row.name,
        local_date=row.local_date,
        starts_at=row.starts_at.astimezone(ZoneInfo(row.time_zone)),
        at=run.created_at,
    )
    run.services.mailer.send(email)
