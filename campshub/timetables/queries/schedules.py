"""What the creation of sessions reads: groups, their weekly meetings, and the days of their calendars."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import and_, select

from campshub.core.db.models import AnyRow
from campshub.core.db.session import Session
from campshub.students.models import Group
from campshub.timetables.models import Calendar, CalendarHoliday, CalendarTerm, GroupCalendar, WeeklyMeeting
from campshub.timetables.plan import Days, OpenDays


@dataclass(frozen=True)
class Schedule:
    """A group's weekly meetings, all versions by id, and the days on which it meets."""

    group_id: UUID
    meetings: dict[UUID, WeeklyMeeting]
    open_days: OpenDays
    is_open: bool


def lock_schedules(session: Session, group_ids: Sequence[UUID]) -> list[Schedule]:
    """Return the schedules of groups; they and their calendars cannot change until the unit of work ends."""
    groups = session.execute(
        select(Group.id, Group.begins_on, Group.ends_on, Group.status, Group.deleted_at, Group.organization_id)
        .where(Group.organization_id == session.unit.organization_id, Group.id.in_(group_ids))
        .order_by(Group.id)
        .with_for_update(read=True)
    ).all()
    meetings: dict[UUID, dict[UUID, WeeklyMeeting]] = defaultdict(dict)
    for meeting in session.scalars(
        select(WeeklyMeeting)
        .where(
            WeeklyMeeting.organization_id == session.unit.organization_id,
            WeeklyMeeting.group_id.in_([group.id for group in groups]),
        )
        .execution_options(populate_existing=True)
    ):
        meetings[meeting.group_id][meeting.id] = meeting
    calendars = _lock_calendars(session, group_ids)
    return [_schedule(group, meetings[group.id], calendars.get(group.id, ((), ()))) for group in groups]


def _schedule(group: AnyRow, meetings: dict[UUID, WeeklyMeeting], days: tuple[Any, Any]) -> Schedule:
    is_open = group.deleted_at is None and group.status == "active"
    return Schedule(group.id, meetings, OpenDays(group.begins_on, group.ends_on, *days), is_open)


def _lock_calendars(session: Session, group_ids: Sequence[UUID]) -> dict[UUID, tuple[list[Days], list[Days]]]:
    """Return the terms and holidays of the groups that follow a calendar; a change of the calendar waits."""
    owner = session.unit.organization_id
    followed = session.execute(
        select(GroupCalendar.id, GroupCalendar.calendar_id)
        .join(Calendar, and_(Calendar.organization_id == owner, Calendar.id == GroupCalendar.calendar_id))
        .where(GroupCalendar.organization_id == owner, GroupCalendar.id.in_(group_ids))
        .order_by(GroupCalendar.calendar_id)
        .with_for_update(read=True)
    ).all()
    calendar_ids = {row.calendar_id for row in followed}
    parts = [days_of(session, model, calendar_ids) for model in (CalendarTerm, CalendarHoliday)]
    return {row.id: (parts[0][row.calendar_id], parts[1][row.calendar_id]) for row in followed}


def days_of(session: Session, model: Any, calendar_ids: set[UUID]) -> dict[UUID, list[Days]]:
    """Return the terms or holidays of calendars."""
    found: dict[UUID, list[Days]] = defaultdict(list)
    if calendar_ids:
        owner = session.unit.organization_id
        for row in session.execute(
            select(model.calendar_id, model.name, model.first_date, model.last_date).where(
                model.organization_id == owner, model.calendar_id.in_(calendar_ids)
            )
        ):
            found[row.calendar_id].append(Days(row.name, row.first_date, row.last_date))
    return found
