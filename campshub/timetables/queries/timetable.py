"""A group's timetable: its sessions, the meetings that are planned besides them, and the holidays of its calendar."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from itertools import chain
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import and_, func, literal_column, or_, select

from campshub.attendance.models import AttendanceSession
from campshub.attendance.queries import visibility as _rules  # noqa: F401 - registers the visibility rules
from campshub.core.db.models import AnyRow
from campshub.core.db.prepared import AnySelect, prepared
from campshub.core.db.session import Session
from campshub.core.errors import Invalid, NotFound
from campshub.core.security.permissions import Scope
from campshub.core.security.principal import Principal, visible_to
from campshub.students.models import Group
from campshub.timetables.models import CalendarHoliday, CalendarTerm, GroupCalendar, WeeklyMeeting
from campshub.timetables.plan import Days, OpenDays, occurrences
from campshub.timetables.queries import visibility as _own_rules  # noqa: F401 - registers the visibility rules
from campshub.timetables.queries.meetings import COLUMNS as MEETING_COLUMNS

MOST_DAYS = 100
DAYS_AHEAD = timedelta(days=60)
_NONE: Any = literal_column("'[]'::json")
_EMPTY: Mapping[str, Any] = dict.fromkeys(
    ("session_id", "meeting_id", "slot", "starts_at", "ends_at", "status", "name", "place", "reason")
)


def show(
    session: Session, principal: Principal, group_id: UUID, *, first_date: date, last_date: date
) -> dict[str, Any]:
    """Return a group's timetable for a range of dates, by date and time.

    :raises NotFound: the principal sees no such group.
    :raises Invalid: the range is reversed or too long.
    """
    if last_date < first_date:
        raise Invalid.at("/to", "invalid", "The last date is before the first.")
    if (last_date - first_date).days > MOST_DAYS:
        raise Invalid.at("/to", "too_far", f"The last date must be at most {MOST_DAYS} days after the first.")
    group = session.execute(_group(principal, group_id=group_id)).one_or_none()
    if group is None:
        raise NotFound
    days = {"first_date": first_date, "last_date": last_date}
    meetings = session.execute(_meetings(principal, group_id=group_id, last_date=last_date)).all()
    sessions = session.execute(_sessions(principal, group_id=group_id, **days)).all()
    holidays = [day for day in _days(group.holidays) if day.first_date <= last_date and day.last_date >= first_date]
    plan = _planned(principal, group, meetings, sessions, first_date, last_date)
    held = [one for one in sessions if one.is_seen and first_date <= one.local_date <= last_date]
    rows = chain(map(_holiday, holidays), _held(principal, held, meetings), plan)
    return {"group_id": group_id, **days, "items": sorted(rows, key=_order)}


def _order(row: Mapping[str, Any]) -> tuple[Any, ...]:
    starts_at: datetime | None = row["starts_at"]
    return row["local_date"], starts_at is not None, starts_at and starts_at.timestamp(), row["slot"] or ""


@prepared
def _group(principal: Principal, *, group_id: UUID) -> AnySelect:
    return select(
        *(Group.begins_on, Group.ends_on, Group.status),
        *(_listed(model).label(name) for name, model in (("terms", CalendarTerm), ("holidays", CalendarHoliday))),
    ).where(visible_to(principal, Group), Group.id == group_id, Group.deleted_at.is_(None))


def _listed(model: Any) -> Any:
    """Return the terms or holidays of the calendar that the group follows, as one JSON column."""
    one = func.json_build_array(model.name, model.first_date, model.last_date)
    follows = and_(
        GroupCalendar.organization_id == model.organization_id, GroupCalendar.calendar_id == model.calendar_id
    )
    return (
        select(func.coalesce(func.json_agg(one), _NONE))
        .select_from(model)
        .join(GroupCalendar, follows)
        .where(model.organization_id == Group.organization_id, GroupCalendar.id == Group.id)
        .correlate(Group)
        .scalar_subquery()
    )


@prepared
def _meetings(principal: Principal, *, group_id: UUID, last_date: date) -> AnySelect:
    return select(*MEETING_COLUMNS).where(
        visible_to(principal, WeeklyMeeting),
        WeeklyMeeting.group_id == group_id,
        WeeklyMeeting.first_date <= last_date,
    )


@prepared
def _sessions(principal: Principal, *, group_id: UUID, first_date: date, last_date: date) -> AnySelect:
    columns = (
        *(AttendanceSession.id, AttendanceSession.local_date, AttendanceSession.slot, AttendanceSession.status),
        *(AttendanceSession.starts_at, AttendanceSession.ends_at, AttendanceSession.reason),
        *(AttendanceSession.meeting_id, AttendanceSession.planned_on),
    )
    held = AttendanceSession.local_date.between(first_date, last_date)
    # The index finds the dates; no session moves further ahead.
    around = AttendanceSession.local_date.between(first_date - DAYS_AHEAD, last_date + DAYS_AHEAD)
    planned = AttendanceSession.planned_on.between(first_date, last_date)
    # Not only the visible ones: what was cancelled or moved is not planned again, also for those who do not see it.
    return select(*columns, visible_to(principal, AttendanceSession).label("is_seen")).where(
        AttendanceSession.organization_id == principal.organization_id,
        AttendanceSession.group_id == group_id,
        around,
        or_(held, planned),
    )


def _days(listed: Sequence[Sequence[str]]) -> list[Days]:
    return [Days(name, date.fromisoformat(first), date.fromisoformat(last)) for name, first, last in listed]


def _holiday(day: Days) -> dict[str, Any]:
    return {
        **_EMPTY,
        "kind": "holiday",
        "local_date": day.first_date,
        "last_date": day.last_date,
        "name": day.name,
        "trainer_ids": [],
    }


def _held(principal: Principal, sessions: Sequence[AnyRow], meetings: Sequence[AnyRow]) -> Iterator[dict[str, Any]]:
    by_id = {meeting.id: meeting for meeting in meetings}
    for one in sessions:
        yield {
            **_EMPTY,
            "kind": "session",
            "session_id": one.id,
            "last_date": one.local_date,
            **{name: getattr(one, name) for name in ("local_date", "slot", "starts_at", "ends_at", "status")},
            "reason": one.reason if principal.scope is not Scope.OWN else None,
            **_of_meeting(by_id.get(one.meeting_id)),
        }


def _planned(
    principal: Principal,
    group: AnyRow,
    meetings: Sequence[AnyRow],
    sessions: Sequence[AnyRow],
    first_date: date,
    last_date: date,
) -> Iterator[dict[str, Any]]:
    """Yield the planned meetings for which there is no session."""
    if group.status != "active":
        return
    series_of = {meeting.id: meeting.series_id for meeting in meetings}
    linked = {(series_of.get(one.meeting_id), one.planned_on) for one in sessions}
    slots = {(one.local_date, one.slot) for one in sessions}
    open_days = OpenDays(group.begins_on, group.ends_on, _days(group.terms), _days(group.holidays))
    for meeting in meetings:
        for one in occurrences(meeting, first_date, last_date, open_days, ZoneInfo(principal.time_zone)):
            if (one.series_id, one.planned_on) in linked or (one.planned_on, one.slot) in slots:
                continue
            yield {
                **_EMPTY,
                "kind": "planned",
                "local_date": one.planned_on,
                "last_date": one.planned_on,
                **{name: getattr(one, name) for name in ("slot", "starts_at", "ends_at")},
                **_of_meeting(meeting),
            }


def _of_meeting(meeting: AnyRow | None) -> dict[str, Any]:
    if meeting is None:
        return {"trainer_ids": []}
    return {"meeting_id": meeting.id, "place": meeting.place, "trainer_ids": meeting.trainer_ids}
