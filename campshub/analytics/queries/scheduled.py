"""What was scheduled: the sessions that were not cancelled, and who was expected in each.

A session of a group on a date until today expects the students who are in the group on that date. One of them without a
mark is *not taken*, which is not an absence. Open gym expects no one.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Date,
    Integer,
    Subquery,
    and_,
    case,
    cast,
    func,
    literal,
    literal_column,
    null,
    select,
    union_all,
)

from campshub.analytics.queries import marks
from campshub.attendance.models import ATTENDED, AttendanceRecord, AttendanceSession
from campshub.core.db.prepared import AnySelect
from campshub.core.security.principal import Principal, visible_to
from campshub.students.models import Enrolment, Student
from campshub.students.queries.in_group import COUNTED, enrolled_on, not_left

_ONE, _NONE = literal_column("1", Integer()), literal_column("0", Integer())


def by_day(principal: Principal, *, first_date: Any, last_date: Any, group_id: Any, student_id: Any) -> Subquery:
    """Return how many marks were scheduled and how many of them are not taken, by day, beside those that exist."""
    read = _by_group if marks.has_rollup(principal, student_id) else _by_student
    found = read(principal, first_date=first_date, last_date=last_date, group_id=group_id, student_id=student_id)
    sessions = found.subquery("sessions_now")
    # A student of another group may have a mark, so there can be more marks than expected.
    scheduled = func.greatest(sessions.c.expected, sessions.c.marked)
    sums = {
        "scheduled": scheduled,
        "not_taken": scheduled - sessions.c.marked,
        "marked": sessions.c.marked,
        "rated": sessions.c.rated,
        "attended": sessions.c.attended,
    }
    columns = [cast(func.sum(one), BigInteger).label(name) for name, one in sums.items()]
    return select(sessions.c.local_date, *columns).group_by(sessions.c.local_date).subquery("scheduled_by_day")


def of_sessions(principal: Principal, *, first_date: Any, last_date: Any, group_id: Any) -> Subquery:
    """Return the sessions of groups that were scheduled, each with the number of students that it expects."""
    changes = _changes(principal, first_date=first_date, last_date=last_date, group_id=group_id)
    expected = func.sum(changes.c.change).over(
        partition_by=changes.c.group_id,
        # Students join and leave a group before the sessions of the date.
        order_by=(changes.c.on, changes.c.session_id.nulls_first()),
        rows=(None, 0),
    )
    columns = [changes.c.session_id, changes.c.on.label("local_date"), changes.c.group_id, expected.label("expected")]
    every = select(*columns).subquery("changes_in_order")
    return select(*every.c).where(every.c.session_id.is_not(None)).subquery("expecting")


def _by_group(principal: Principal, *, first_date: Any, last_date: Any, group_id: Any, student_id: Any) -> AnySelect:
    meetings = of_sessions(principal, first_date=first_date, last_date=last_date, group_id=group_id)
    taken = marks.by_session(
        principal, first_date=first_date, last_date=last_date, group_id=group_id, student_id=student_id
    )
    found = {name: func.coalesce(taken.c[name], _NONE).label(name) for name in ("marked", "rated", "attended")}
    return select(meetings.c.local_date, meetings.c.expected, *found.values()).outerjoin(
        taken, taken.c.session_id == meetings.c.session_id
    )


def _by_student(principal: Principal, *, first_date: Any, last_date: Any, group_id: Any, student_id: Any) -> AnySelect:
    expected = _expected(
        principal, first_date=first_date, last_date=last_date, group_id=group_id, student_id=student_id
    ).subquery("expected_of_students")
    mark = AttendanceRecord
    chosen = marks.chosen_marks(
        principal, first_date=first_date, last_date=last_date, group_id=group_id, student_id=student_id
    )
    there = mark.counts_as.in_(ATTENDED)
    taken = (
        select(
            mark.session_id, mark.student_id, mark.local_date, mark.in_rate, and_(mark.in_rate, there).label("is_there")
        )
        .where(*chosen, mark.group_id.is_not(None))
        .subquery("taken")
    )
    same = and_(taken.c.session_id == expected.c.session_id, taken.c.student_id == expected.c.student_id)
    return select(
        func.coalesce(expected.c.local_date, taken.c.local_date).label("local_date"),
        case((expected.c.session_id.is_not(None), _ONE), else_=_NONE).label("expected"),
        case((taken.c.session_id.is_not(None), _ONE), else_=_NONE).label("marked"),
        case((taken.c.in_rate, _ONE), else_=_NONE).label("rated"),
        case((taken.c.is_there, _ONE), else_=_NONE).label("attended"),
    ).select_from(expected.outerjoin(taken, same, full=True))


def _expected(principal: Principal, *, first_date: Any, last_date: Any, group_id: Any, student_id: Any) -> AnySelect:
    meeting = AttendanceSession
    own = Enrolment.organization_id
    rows = (
        select(meeting.id.label("session_id"), Enrolment.student_id, meeting.local_date)
        .select_from(Enrolment)
        .join(Student, and_(Student.organization_id == own, Student.id == Enrolment.student_id))
        .join(meeting, and_(meeting.organization_id == own, meeting.group_id == Enrolment.group_id))
        .where(visible_to(principal, Student), Student.deleted_at.is_(None), not_left(meeting.local_date))
        .where(enrolled_on(meeting.local_date))
        .where(*_due(principal, first_date, last_date, group_id))
        .distinct()  # two enrolments may overlap
    )
    return rows if student_id is None else rows.where(Student.id == student_id)


def _due(principal: Principal, first_date: Any, last_date: Any, group_id: Any) -> list[Any]:
    meeting = AttendanceSession
    found = [
        visible_to(principal, meeting),
        meeting.status != "cancelled",
        meeting.group_id.is_not(None),
        meeting.local_date >= first_date,
        meeting.local_date <= last_date,
    ]
    return found if group_id is None else [*found, meeting.group_id == group_id]


def _changes(principal: Principal, *, first_date: Any, last_date: Any, group_id: Any) -> Subquery:
    """Return the sessions, and before them each date on which the number of a group's students changes."""
    stays = _stays(principal, last_date=last_date, group_id=group_id)
    no_session = cast(null(), AttendanceSession.id.type)
    joined = select(
        stays.c.group_id, func.lower(stays.c.days).label("on"), no_session.label("session_id"), _ONE.label("change")
    )
    left = select(stays.c.group_id, func.upper(stays.c.days), no_session, literal(-1, Integer())).where(
        ~func.upper_inf(stays.c.days)
    )
    meeting = AttendanceSession
    meetings = select(meeting.group_id, meeting.local_date, meeting.id, _NONE).where(
        *_due(principal, first_date, last_date, group_id)
    )
    return union_all(joined, left, meetings).subquery("changes")


def _stays(principal: Principal, *, last_date: Any, group_id: Any) -> Subquery:
    """Return the days that each student is in a group, without overlaps of two enrolments."""
    ends = func.least(Enrolment.ends_on, Student.left_on, type_=Date())
    days = func.range_agg(func.daterange(Enrolment.begins_on, ends, literal_column("'[]'")))
    rows = (
        select(Enrolment.group_id, func.unnest(days).label("days"))
        .join(
            Student,
            and_(Student.organization_id == Enrolment.organization_id, Student.id == Enrolment.student_id),
        )
        .where(visible_to(principal, Enrolment), Student.deleted_at.is_(None), Enrolment.status.in_(COUNTED))
        .where(Enrolment.begins_on <= last_date, func.coalesce(ends, Enrolment.begins_on) >= Enrolment.begins_on)
        .group_by(Enrolment.group_id, Enrolment.student_id)
    )
    if group_id is not None:
        rows = rows.where(Enrolment.group_id == group_id)
    return rows.subquery("stays")
