"""Marks by day and by session, from the rollups where they can answer, and else from the marks themselves.

The rollups count by group. Figures of a student, and those of a caller who sees only their own marks, are read from the
marks: a student has a few hundred of them a year, and an index finds them.
"""

from datetime import date
from typing import Any

from sqlalchemy import ColumnElement, Subquery, func, select

from campshub.attendance.models import (
    ATTENDED,
    AttendanceGroupDay,
    AttendanceGroupDayStale,
    AttendanceRecord,
    AttendanceSessionCount,
)
from campshub.attendance.queries.rollups import DAYS, SESSIONS
from campshub.core.rollups.definition import Rollup
from campshub.core.security.permissions import Scope
from campshub.core.security.principal import Principal, visible_to


def has_rollup(principal: Principal, student_id: Any) -> bool:
    """Return whether the rollups by group can answer."""
    return student_id is None and principal.scope is not Scope.OWN


def by_day(principal: Principal, *, first_date: Any, last_date: Any, group_id: Any, student_id: Any) -> Subquery:
    """Return the counts of the marks that the principal sees, by day."""
    if not has_rollup(principal, student_id):
        return _by_day_of_student(principal, _chosen(AttendanceRecord, first_date, last_date, group_id, student_id))
    days = _current(DAYS, AttendanceGroupDay, principal, first_date=first_date, last_date=last_date, group_id=group_id)
    there = days.c.present + days.c.late + days.c.left_early
    sums = {
        "marked": there + days.c.absent + days.c.excused,
        "rated": days.c.rated,
        "attended": days.c.attended,
        "there": there,
        "late": days.c.late,
    }
    columns = [func.sum(one).label(name) for name, one in sums.items()]
    return select(days.c.local_date, *columns).group_by(days.c.local_date).subquery("by_day")


def by_session(principal: Principal, *, first_date: Any, last_date: Any, group_id: Any, student_id: Any) -> Subquery:
    """Return the counts of the marks that the principal sees, by session."""
    if has_rollup(principal, student_id):
        counts = of_sessions(principal, first_date=first_date, last_date=last_date, group_id=group_id)
        marked = counts.c.present + counts.c.late + counts.c.left_early + counts.c.absent + counts.c.excused
        columns = [counts.c.session_id, counts.c.local_date, marked.label("marked"), counts.c.rated, counts.c.attended]
        return select(*columns).subquery("by_session")
    mark, there = AttendanceRecord, AttendanceRecord.counts_as.in_(ATTENDED)
    return (
        select(
            *(mark.session_id, mark.local_date, func.count().label("marked")),
            func.count().filter(mark.in_rate).label("rated"),
            func.count().filter(mark.in_rate, there).label("attended"),
        )
        .where(visible_to(principal, mark), *_chosen(mark, first_date, last_date, group_id, student_id))
        .group_by(mark.session_id, mark.local_date)
        .subquery("by_session")
    )


def of_sessions(principal: Principal, *, first_date: Any, last_date: Any, group_id: Any) -> Subquery:
    """Return all counts of the marks of visible groups, by session."""
    dates = {"first_date": first_date, "last_date": last_date}
    return _current(SESSIONS, AttendanceSessionCount, principal, group_id=group_id, **dates)


def chosen_marks(
    principal: Principal, *, first_date: Any, last_date: Any, group_id: Any, student_id: Any
) -> list[ColumnElement[bool]]:
    """Return the conditions of the marks themselves."""
    own = _chosen(AttendanceRecord, first_date, last_date, group_id, student_id)
    if has_rollup(principal, student_id) and principal.scope is not Scope.ALL:
        own.append(AttendanceRecord.group_id.is_not(None))  # as the rollups: open gym is the organization's
    return [visible_to(principal, AttendanceRecord), *own]


def _by_day_of_student(principal: Principal, chosen: list[ColumnElement[bool]]) -> Subquery:
    mark, there = AttendanceRecord, AttendanceRecord.counts_as.in_(ATTENDED)
    return (
        select(
            *(mark.local_date, func.count().label("marked")),
            func.count().filter(mark.in_rate).label("rated"),
            func.count().filter(mark.in_rate, there).label("attended"),
            func.count().filter(there).label("there"),
            func.count().filter(mark.counts_as == "late").label("late"),
        )
        .where(visible_to(principal, mark), *chosen)
        .group_by(mark.local_date)
        .subquery("by_day")
    )


def _current(rollup: Rollup, model: Any, principal: Principal, *, group_id: Any, **dates: Any) -> Subquery:
    first_date, last_date = dates["first_date"], dates["last_date"]
    return rollup.current(
        stored=[visible_to(principal, model), *_chosen(model, first_date, last_date, group_id, None)],
        stale=[
            visible_to(principal, AttendanceGroupDayStale),
            *_chosen(AttendanceGroupDayStale, first_date, last_date, group_id, None),
        ],
        # The stale keys already respect visibility; all marks of such a group count.
        raw=[
            AttendanceRecord.organization_id == principal.organization_id,
            *_chosen(AttendanceRecord, first_date, last_date, group_id, None),
        ],
    )


def _chosen(model: Any, first_date: date, last_date: date, group_id: Any, student_id: Any) -> list[ColumnElement[bool]]:
    found = [model.local_date >= first_date, model.local_date <= last_date]
    if group_id is not None:
        found.append(model.group_id == group_id)
    if student_id is not None:
        found.append(model.student_id == student_id)
    return found
