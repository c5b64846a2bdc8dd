"""Sessions that a timetable plans: created ahead, moved or removed while no one has worked with them.

A timetable never creates a second session for a date of a meeting, nor one in a slot that has a session of any status.
So a cancelled session stays cancelled.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from types import SimpleNamespace
from typing import Any
from uuid import UUID

from sqlalchemy import select, true

from campshub.attendance.models import AttendanceRecord, AttendanceSession
from campshub.attendance.service import followers
from campshub.core.db import writes
from campshub.core.db.session import Session

Slot = tuple[UUID | None, date, str | None]


def slot_of(meeting: AttendanceSession) -> Slot:
    """Return the group, date and slot of a session."""
    return meeting.group_id, meeting.local_date, meeting.slot


def lock_planned(session: Session, group_ids: Sequence[UUID] | None, first_date: date) -> list[AttendanceSession]:
    """Lock the sessions that were planned for a date or later, so that no one marks them meanwhile.

    Without ``group_ids``, those of all groups.
    """
    _lock_schedule(session)
    return list(
        session.scalars(
            select(AttendanceSession)
            .where(
                AttendanceSession.organization_id == session.unit.organization_id,
                true() if group_ids is None else AttendanceSession.group_id.in_(group_ids),
                AttendanceSession.planned_on >= first_date,
            )
            .order_by(AttendanceSession.id)
            .with_for_update()
            .execution_options(populate_existing=True)
        )
    )


def marked(session: Session, meetings: Iterable[AttendanceSession]) -> set[UUID]:
    """Return the ids of those sessions that have a mark."""
    dates = {meeting.id: meeting.local_date for meeting in meetings}
    if not dates:
        return set()
    found = select(AttendanceRecord.session_id).where(
        AttendanceRecord.organization_id == session.unit.organization_id,
        AttendanceRecord.local_date.in_(set(dates.values())),
        AttendanceRecord.session_id.in_(dates),
    )
    return set(session.scalars(found.distinct()))


def taken_slots(session: Session, group_ids: Sequence[UUID], first_date: date, last_date: date) -> dict[Slot, bool]:
    """Return the slots of groups that have a session of any status, and whether one of these is not cancelled."""
    rows = session.execute(
        select(
            AttendanceSession.group_id, AttendanceSession.local_date, AttendanceSession.slot, AttendanceSession.status
        ).where(
            AttendanceSession.organization_id == session.unit.organization_id,
            AttendanceSession.group_id.in_(group_ids),
            AttendanceSession.local_date.between(first_date, last_date),
        )
    )
    taken: dict[Slot, bool] = {}
    for group_id, local_date, slot, status in rows:
        key = (group_id, local_date, slot)
        taken[key] = taken.get(key, False) or status != "cancelled"
    return taken


def create_planned(session: Session, rows: Sequence[Mapping[str, Any]]) -> set[UUID]:
    """Create sessions, and return the ids of the new ones; those that another transaction has created are skipped."""
    _lock_schedule(session)
    ordered = sorted(rows, key=lambda row: (row["group_id"], row["local_date"], row["slot"]))
    shape = [{"status": "scheduled", **row} for row in ordered]
    new = {row.id for row in writes.insert(session, AttendanceSession, shape, on_conflict="DO NOTHING")}
    followers.arrived(session, [SimpleNamespace(**row) for row in shape if row["id"] in new])
    return new


def moved(session: Session, meetings: Iterable[AttendanceSession]) -> None:
    """Report sessions that have been moved; their changes have been flushed."""
    followers.arrived(session, meetings)


def _lock_schedule(session: Session) -> None:
    if (owner := session.unit.organization_id) is not None:
        followers.lock_schedule(session, owner)


def has_begun(meeting: AttendanceSession, now: datetime, today: date) -> bool:
    """Return whether a session has started; without a time, it starts with its date."""
    return meeting.starts_at <= now if meeting.starts_at is not None else meeting.local_date <= today
