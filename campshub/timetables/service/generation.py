"""Create sessions ahead from weekly meetings, and apply a change of the plan to the sessions that exist already."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import select

from campshub.accounts.models import Organization
from campshub.accounts.service.organizations import follows_time_zone, lock_time_zone
from campshub.attendance.models import AttendanceSession
from campshub.attendance.service import planned
from campshub.core.db.models import new_id
from campshub.core.db.session import Session
from campshub.timetables.models import WeeklyMeeting
from campshub.timetables.plan import Occurrence, in_week_of, is_planned, occurrence, occurrences
from campshub.timetables.queries.schedules import Schedule, lock_schedules

_OPEN = ("scheduled", "open")


@dataclass(frozen=True)
class DaysAhead:
    """The days for which sessions are created, and the time zone of their meetings."""

    zone: ZoneInfo
    now: datetime
    last_date: date

    @property
    def today(self) -> date:
        """The organization's date."""
        return self.now.astimezone(self.zone).date()


@dataclass
class Effects:
    """The sessions that a change of the plan has created, moved, removed or left as they were."""

    created: list[dict[str, Any]] = field(default_factory=list)
    moved: list[dict[str, Any]] = field(default_factory=list)
    removed: list[dict[str, Any]] = field(default_factory=list)
    left: list[dict[str, Any]] = field(default_factory=list)


def window_of(session: Session, now: datetime) -> DaysAhead:
    """Return the organization's window; its time zone cannot change until the unit of work ends."""
    owner = session.unit.organization_id
    if owner is None:
        raise RuntimeError("sessions are created in one organization at a time")
    zone = ZoneInfo(lock_time_zone(session, owner))
    days = session.scalars(select(Organization.session_days_ahead).where(Organization.id == owner)).one()
    return DaysAhead(zone, now, now.astimezone(zone).date() + timedelta(days=days))


def create_ahead(session: Session, group_ids: Sequence[UUID], window: DaysAhead) -> list[dict[str, Any]]:
    """Create the sessions of groups that are missing in the window; return them.

    Sessions that exist stay as they are, so calling this again changes nothing.
    """
    wanted: list[Occurrence] = []
    for schedule in lock_schedules(session, group_ids):
        wanted += _planned(schedule, window)
    if not wanted:
        return []
    groups = sorted({one.group_id for one in wanted})
    linked = _linked(session, groups, window)
    return _create(session, window, [one for one in wanted if (one.series_id, one.planned_on) not in linked])


def apply(session: Session, group_id: UUID, window: DaysAhead, *, series_id: UUID | None = None) -> Effects:
    """Apply the plan of a group, or of one of its meetings, to its sessions, and create the missing ones.

    Only sessions are moved or removed that are in the future, open, without marks, and as their meeting planned them.
    """
    (schedule,) = lock_schedules(session, [group_id])
    if not schedule.is_open:  # it gets no sessions, and keeps those that it has
        return Effects()
    meetings = planned.lock_planned(session, [group_id], window.today)
    linked = [(one, schedule.meetings[one.meeting_id]) for one in meetings if one.meeting_id is not None]
    chosen = [(one, origin) for one, origin in linked if series_id in (None, origin.series_id)]
    taken = {(origin.series_id, one.planned_on) for one, origin in linked}
    marked = planned.marked(session, (one for one, _ in chosen))
    slots = planned.taken_slots(session, [group_id], window.today, _last(window, meetings))
    effects = Effects()
    for one, origin in chosen:
        if _is_still_planned(schedule, origin, one.planned_on, window):
            continue
        target = _target(schedule, origin, one, taken, window)
        why = _why_left(one, origin, marked, window)
        if target is not None:
            taken.add((target.series_id, target.planned_on))
            _move(one, target, slots, why, effects)
        elif why is None:
            effects.removed.append(_shown(one))
            session.delete(one)
        else:
            effects.left.append({**_shown(one), "why": why})
    session.flush()
    moved = {row["id"] for row in effects.moved}
    planned.moved(session, [one for one, _ in chosen if one.id in moved])
    wanted = [one for one in _planned(schedule, window) if series_id in (None, one.series_id)]
    effects.created = _create(session, window, [one for one in wanted if (one.series_id, one.planned_on) not in taken])
    return effects


@follows_time_zone
def follow_time_zone(session: Session, organization: Organization, former: str) -> None:
    """Keep the local times of future sessions that are as their meeting planned them; the past stays as it was."""
    old, new = ZoneInfo(former), ZoneInfo(organization.time_zone)
    now = session.unit.now
    window = DaysAhead(old, now, now.astimezone(old).date())
    own = WeeklyMeeting.organization_id == organization.id
    origins = {meeting.id: meeting for meeting in session.scalars(select(WeeklyMeeting).where(own))}
    meetings = planned.lock_planned(session, None, window.today) if origins else []
    marked = planned.marked(session, meetings)
    for one in meetings:
        origin = origins.get(one.meeting_id) if one.meeting_id else None
        if origin is None or one.planned_on is None or _why_left(one, origin, marked, window) is not None:
            continue
        after = occurrence(origin, one.planned_on, new)
        one.starts_at, one.ends_at = after.starts_at, after.ends_at


def _last(window: DaysAhead, meetings: Sequence[AttendanceSession]) -> date:
    """Return the last date that a session may be moved to: the end of the latest session's week, or of the window."""
    return max([window.last_date, *(one.local_date + timedelta(days=7) for one in meetings)])


def _planned(schedule: Schedule, window: DaysAhead) -> Iterator[Occurrence]:
    if schedule.is_open:
        for meeting in schedule.meetings.values():
            for one in occurrences(meeting, window.today, window.last_date, schedule.open_days, window.zone):
                if one.starts_at > window.now:
                    yield one


def _linked(session: Session, group_ids: Sequence[UUID], window: DaysAhead) -> set[tuple[UUID, date | None]]:
    """Return the meetings and dates that have a session, of any status and on any date."""
    owner = session.unit.organization_id
    rows = session.execute(
        select(WeeklyMeeting.series_id, AttendanceSession.planned_on).where(
            AttendanceSession.organization_id == owner,
            AttendanceSession.group_id.in_(group_ids),
            AttendanceSession.planned_on >= window.today,
            WeeklyMeeting.organization_id == owner,
            WeeklyMeeting.id == AttendanceSession.meeting_id,
        )
    )
    return {(row.series_id, row.planned_on) for row in rows}


def _create(session: Session, window: DaysAhead, wanted: Sequence[Occurrence]) -> list[dict[str, Any]]:
    """Create the sessions whose slots have none of any status."""
    if not wanted:
        return []
    groups = sorted({one.group_id for one in wanted})
    slots = planned.taken_slots(session, groups, window.today, window.last_date)
    rows = [
        {"id": new_id(), "group_id": one.group_id, **one.values()}
        for one in wanted
        if (one.group_id, one.planned_on, one.slot) not in slots
    ]
    new = planned.create_planned(session, rows)
    return [{**row, "status": "scheduled"} for row in sorted(rows, key=_order) if row["id"] in new]


def _order(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return row["starts_at"], row["id"]


def _is_still_planned(schedule: Schedule, origin: WeeklyMeeting, day: date | None, window: DaysAhead) -> bool:
    return day is not None and is_planned(origin, day, schedule.open_days, window.zone)


def _target(
    schedule: Schedule,
    origin: WeeklyMeeting,
    one: AttendanceSession,
    taken: Collection[tuple[UUID, date | None]],
    window: DaysAhead,
) -> Occurrence | None:
    """Return where another version of the same meeting plans a session in the same week."""
    if one.planned_on is None:
        return None
    for version in schedule.meetings.values():
        if version.series_id != origin.series_id or version.id == origin.id:
            continue
        day = in_week_of(one.planned_on, version)
        is_free = day == one.planned_on or (version.series_id, day) not in taken
        if is_free and _is_still_planned(schedule, version, day, window):
            found = occurrence(version, day, window.zone)
            if found.starts_at > window.now:
                return found
    return None


def _why_left(one: AttendanceSession, origin: WeeklyMeeting, marked: Collection[UUID], window: DaysAhead) -> str | None:
    """Return why a session may not be moved or removed; None if it may."""
    if one.status not in _OPEN:
        return one.status
    if one.id in marked:
        return "has_marks"
    if planned.has_begun(one, window.now, window.today):
        return "begun"
    expected = occurrence(origin, one.planned_on, window.zone).values() if one.planned_on else {}
    is_as_planned = all(getattr(one, name) == value for name, value in expected.items())
    return None if is_as_planned else "changed"


def _move(
    one: AttendanceSession, target: Occurrence, slots: dict[planned.Slot, bool], why: str | None, effects: Effects
) -> None:
    """Link a session to its new plan, and give it the new date, slot and times if nothing prevents that."""
    before = planned.slot_of(one)
    after = (one.group_id, target.planned_on, target.slot)
    if why is None and after != before and slots.get(after):
        why = "session_exists"
    one.meeting_id, one.planned_on = target.meeting_id, target.planned_on
    if why is not None:
        effects.left.append({**_shown(one), "why": why})
        return
    values = target.values()
    differs = any(getattr(one, name) != value for name, value in values.items())
    for name, value in values.items():
        setattr(one, name, value)
    slots[before], slots[after] = False, True
    if differs:
        effects.moved.append({**_shown(one), "from_date": before[1]})


def _shown(one: AttendanceSession) -> dict[str, Any]:
    names = ("id", "group_id", "local_date", "slot", "starts_at", "ends_at", "status", "meeting_id", "planned_on")
    return {name: getattr(one, name) for name in names}
