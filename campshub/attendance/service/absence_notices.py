"""Notify guardians of an absence, once for each mark after the organization's delay, and correct it if the mark is.

A notice is a row that is pending until its time. If the student is not absent then, it is dropped without an e-mail. A
notice that was sent is corrected if the mark changes in the next days, and is not sent again.
"""

import logging
import uuid
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, and_, exists, select

from campshub.accounts.models import Organization
from campshub.attendance import emails
from campshub.attendance.models import AbsenceNotice, AttendanceRecord, AttendanceSession
from campshub.core.db import writes
from campshub.core.db.models import AnyRow
from campshub.core.db.session import Session
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.jobs.registry import Run
from campshub.core.jobs.store import enqueue
from campshub.students.models import Group, Guardian, Student, StudentGuardian

log = logging.getLogger(__name__)

# Only marks of today and yesterday that were made in the last hours are news, for example after the setting was made.
DAYS_BACK = 1
NEWS = timedelta(hours=6)
CORRECTED_DAYS = 14
AT_ONCE = 1_000
SEND = "attendance.send_absence_notice"
# A notice that was dropped without an e-mail starts again.
_AGAIN = (
    "(organization_id, session_id, student_id) DO UPDATE SET status = 'pending', due_at = excluded.due_at,"
    " version = absence_notices.version + 1, updated_at = now() WHERE absence_notices.status = 'dropped'"
)


def notify(now: datetime) -> None:
    """Write, send, correct and drop the notices of all organizations; a repetition changes nothing."""
    o = Organization
    with unit_of_work(system=True, read_only=True) as session:
        rows = session.execute(
            select(o.id, o.time_zone, o.absence_notice_after_minutes)
            .where(o.status == "active", o.absence_notice_after_minutes.is_not(None))
            .order_by(o.id)
        ).all()
    for row in rows:
        today = now.astimezone(ZoneInfo(row.time_zone)).date()
        try:
            with unit_of_work(organization_id=row.id) as session:
                _prepare(session, timedelta(minutes=row.absence_notice_after_minutes), today, now)
                _send_due(session, today, now)
                _correct(session, today)
        except Exception:  # one organization must not stop the others
            log.exception("notices of absences failed: %s", row.id)


def _prepare(session: Session, delay: timedelta, today: date, now: datetime) -> None:
    """Write a pending notice for each new absence."""
    mark, notice = AttendanceRecord, AbsenceNotice
    own = mark.organization_id == session.unit.organization_id
    same = and_(
        notice.organization_id == mark.organization_id,
        notice.session_id == mark.session_id,
        notice.student_id == mark.student_id,
        notice.status != "dropped",
    )
    absences = session.execute(
        select(mark.session_id, mark.student_id, mark.local_date, mark.updated_at)
        .where(own, mark.local_date.between(today - timedelta(days=DAYS_BACK), today), mark.counts_as == "absent")
        .where(mark.code != "present", mark.updated_at > now - delay - NEWS)
        .where(~exists(select(1).select_from(notice).where(same).correlate(mark)))
        .order_by(mark.id)
        .limit(AT_ONCE)
    ).all()
    rows = [
        {
            "session_id": row.session_id,
            "student_id": row.student_id,
            "local_date": row.local_date,
            "due_at": row.updated_at + delay,
        }
        for row in absences
    ]
    writes.insert(session, AbsenceNotice, rows, on_conflict=_AGAIN)


def _send_due(session: Session, today: date, now: datetime) -> None:
    """Send the notices whose time has come, and drop those of students who are not absent any more."""
    for notice, is_absent in _notices(session, today, AbsenceNotice.status == "pending", AbsenceNotice.due_at <= now):
        notice.status = "sent" if is_absent else "dropped"
        if is_absent:
            enqueue(session, SEND, notice_id=str(notice.id), is_correction=False)
    session.flush()


def _correct(session: Session, today: date) -> None:
    """Correct the notices of students whose marks do not count as absent any more."""
    for notice, _ in _notices(session, today, AbsenceNotice.status == "sent", ~_is_absent(today)):
        notice.status = "corrected"
        enqueue(session, SEND, notice_id=str(notice.id), is_correction=True)
    session.flush()


def _notices(session: Session, today: date, *conditions: ColumnElement[bool]) -> Sequence[Any]:
    """Lock notices of the latest days, and return each with whether the student is absent now."""
    notice, first_date = AbsenceNotice, _first_date(today)
    return session.execute(
        select(notice, _is_absent(today))
        .where(notice.organization_id == session.unit.organization_id, notice.local_date >= first_date, *conditions)
        .order_by(notice.local_date, notice.id)
        .limit(AT_ONCE)
        .with_for_update(skip_locked=True, of=notice)
    ).all()


def _is_absent(today: date) -> ColumnElement[bool]:
    """Return the condition that the student of a notice is absent now; the date limits the months that are read."""
    notice, mark = AbsenceNotice, AttendanceRecord
    return exists(
        select(1)
        .select_from(mark)
        .where(mark.organization_id == notice.organization_id, mark.local_date == notice.local_date)
        .where(mark.local_date >= _first_date(today), mark.session_id == notice.session_id)
        .where(mark.student_id == notice.student_id, mark.counts_as == "absent")
        .correlate(notice)
    )


def _first_date(today: date) -> date:
    return today - timedelta(days=CORRECTED_DAYS)


def contacts_of(session: Session, student_id: UUID) -> list[str]:
    """Return the e-mail addresses that are notified about a student."""
    one, link = Guardian, StudentGuardian
    rows = session.scalars(
        select(one.email)
        .join(link, and_(link.organization_id == one.organization_id, link.guardian_id == one.id))
        .where(one.organization_id == session.unit.organization_id, link.student_id == student_id)
        .where(link.receives_notifications, one.deleted_at.is_(None), one.email.is_not(None))
        .order_by(link.position, one.id)
    )
    return list(dict.fromkeys(address for address in rows if address))


def send(run: Run, *, notice_id: UUID, is_correction: bool) -> None:
    """E-mail the contacts of a student a notice or its correction; a repetition sends the same e-mails."""
    with unit_of_work(organization_id=run.organization_id, read_only=True) as session:
        found = _shown(session, run.organization_id, notice_id)
        contacts = contacts_of(session, found.student_id) if found is not None else []
    if found is None:
        return
    text = emails.not_absent if is_correction else emails.absent
    names = (found.preferred_name or found.given_name, found.family_name)
    for address in contacts:
        email = text(
            uuid.uuid5(run.id, address),
            to=address,
            organization=found.organization,
            student=" ".join(filter(None, names)),
            group=found.group_name or "open gym",
            local_date=found.local_date,
            at=run.created_at,
        )
        run.services.mailer.send(email)


def _shown(session: Session, organization_id: UUID, notice_id: UUID) -> AnyRow | None:
    one, meeting = AbsenceNotice, AttendanceSession
    return session.execute(
        select(one.student_id, one.local_date, Student.given_name, Student.family_name, Student.preferred_name)
        .add_columns(Group.name.label("group_name"), Organization.name.label("organization"))
        .join(Student, and_(Student.organization_id == one.organization_id, Student.id == one.student_id))
        .join(meeting, and_(meeting.organization_id == one.organization_id, meeting.id == one.session_id))
        .join(Organization, Organization.id == one.organization_id)
        .outerjoin(Group, and_(Group.organization_id == one.organization_id, Group.id == meeting.group_id))
        .where(one.organization_id == organization_id, one.id == notice_id)
    ).one_or_none()
