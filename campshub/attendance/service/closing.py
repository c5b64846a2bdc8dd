"""Submit and lock registers automatically, after the times that each organization has set.

Both times count from the end of the session, or from the last reopening. A register is submitted only if it was ever
marked: otherwise "not taken" would look like "taken". It is locked in any case, so that the past does not change.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, DateTime, Select, and_, cast, exists, func, literal, select

from campshub.accounts.models import Organization
from campshub.attendance.models import AttendanceSession, RegisterVersion
from campshub.attendance.service.sessions import DAYS_BACK
from campshub.core.db.unit_of_work import unit_of_work

log = logging.getLogger(__name__)

AT_ONCE = 200
_NOT_SUBMITTED = ("scheduled", "open")
_NOT_LOCKED = (*_NOT_SUBMITTED, "submitted")


@dataclass(frozen=True)
class _Closing:
    """What is done to the due registers of an organization."""

    organization_id: UUID
    time_zone: str
    statuses: tuple[str, ...]
    before: datetime
    needs_marks: bool
    reason: str
    close: Callable[[AttendanceSession, datetime], None]


def close_registers(now: datetime) -> int:
    """Lock and submit the due registers of all organizations; return how many.

    Each batch is a unit of work, and a register that was closed is not due any more: a repetition changes nothing.
    """
    closed = 0
    for closing in _closings(now):
        try:
            while done := _close_some(closing, now):
                closed += done
        except Exception:  # one organization must not stop the others
            log.exception("registers could not be closed: %s", closing.organization_id)
    return closed


def _closings(now: datetime) -> list[_Closing]:
    """Return what the settings of all organizations require; locking comes first, because it also submits."""
    o = Organization
    with unit_of_work(system=True, read_only=True) as session:
        rows = session.execute(
            select(o.id, o.time_zone, o.submit_after_hours, o.lock_after_days)
            .where(o.status == "active", func.coalesce(o.submit_after_hours, o.lock_after_days).is_not(None))
            .order_by(o.id)
        ).all()
    found = []
    for row in rows:
        if (days := row.lock_after_days) is not None:
            reason = f"Locked automatically after {days} days."
            before = now - timedelta(days=days)
            found.append(_Closing(row.id, row.time_zone, _NOT_LOCKED, before, False, reason, _lock))
        if (hours := row.submit_after_hours) is not None:
            reason = f"Submitted automatically after {hours} hours."
            before = now - timedelta(hours=hours)
            found.append(_Closing(row.id, row.time_zone, _NOT_SUBMITTED, before, True, reason, _submit))
    return found


def _close_some(closing: _Closing, now: datetime) -> int:
    """Close a batch of registers as the system, without a user; return how many."""
    with unit_of_work(organization_id=closing.organization_id) as session:
        session.unit.reason = closing.reason
        meetings = session.scalars(_due(closing, now.astimezone(ZoneInfo(closing.time_zone)).date())).all()
        for meeting in meetings:
            closing.close(meeting, now)
        session.flush()
    return len(meetings)


def _due(closing: _Closing, today: date) -> Select[AttendanceSession]:
    """Return the query of some due registers; those that a request is changing are due again later."""
    one = AttendanceSession
    conditions: list[ColumnElement[bool]] = [
        one.organization_id == closing.organization_id,
        one.status.in_(closing.statuses),
        one.local_date.between(today - timedelta(days=DAYS_BACK), today),
        func.greatest(ends_at(closing.time_zone), one.reopened_at) <= closing.before,
    ]
    if closing.needs_marks:
        marked = and_(RegisterVersion.organization_id == one.organization_id, RegisterVersion.id == one.id)
        conditions.append(exists(select(1).select_from(RegisterVersion).where(marked).correlate(one)))
    return (
        select(one).where(*conditions).order_by(one.local_date, one.id).limit(AT_ONCE).with_for_update(skip_locked=True)
    )


def ends_at(time_zone: str) -> ColumnElement[datetime]:
    """Return when a session ends: at its end, else its start, else at the end of its date in the time zone."""
    midnight = func.timezone(literal(time_zone), cast(AttendanceSession.local_date + 1, DateTime))
    return func.coalesce(AttendanceSession.ends_at, AttendanceSession.starts_at, midnight)


def _submit(meeting: AttendanceSession, now: datetime) -> None:
    meeting.status, meeting.submitted_at = "submitted", now


def _lock(meeting: AttendanceSession, now: datetime) -> None:
    meeting.submitted_at = meeting.submitted_at or now
    meeting.status, meeting.locked_at = "locked", now
