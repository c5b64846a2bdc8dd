"""Visibility rules: everyone sees the calendars, and the weekly meetings of the groups that they see."""

from typing import Any

from sqlalchemy import ColumnElement, exists, select

from campshub.core.security.permissions import Scope
from campshub.core.security.principal import Principal, everyone_sees, visibility, visible_to
from campshub.students.models import Group
from campshub.students.queries import visibility as _rules  # noqa: F401 - registers the visibility rules
from campshub.timetables.models import Calendar, CalendarHoliday, CalendarTerm, GroupCalendar, WeeklyMeeting

for _model in (Calendar, CalendarTerm, CalendarHoliday):
    everyone_sees(_model)

for _scope in (Scope.GROUPS, Scope.OWN):

    @visibility(WeeklyMeeting, _scope)
    def _of_visible_group(principal: Principal) -> ColumnElement[bool]:
        return _sees_group(principal, WeeklyMeeting, WeeklyMeeting.group_id)

    @visibility(GroupCalendar, _scope)
    def _followed_by_visible_group(principal: Principal) -> ColumnElement[bool]:
        return _sees_group(principal, GroupCalendar, GroupCalendar.id)


def _sees_group(principal: Principal, model: Any, group_id: Any) -> ColumnElement[bool]:
    seen = select(1).select_from(Group).where(visible_to(principal, Group), Group.id == group_id)
    return exists(seen.correlate(model))
