"""One caller's sessions of a date, with their rosters and marks."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, and_, func, or_, select, true, union_all

from campshub.attendance.models import COUNTS_AS, AttendanceRecord, AttendanceSession, RegisterVersion
from campshub.attendance.queries import visibility as _rules  # noqa: F401 - registers the visibility rules
from campshub.attendance.queries.registers import MARK
from campshub.core.db.models import AnyRow
from campshub.core.db.prepared import AnySelect, prepared
from campshub.core.db.session import Session
from campshub.core.security.permissions import Scope
from campshub.core.security.principal import Principal, visible_to
from campshub.students.models import Enrolment, Group, Student
from campshub.students.queries.in_group import enrolled_on, still_there
from campshub.students.queries.visibility import trained_group_ids

MOST_SESSIONS = 100
MOST_STUDENTS = 5_000


def my_day(session: Session, principal: Principal, *, on: date) -> dict[str, Any]:
    """Return the sessions of the groups that the principal trains, or as a student is in, on a local date.

    Each has the students whom the principal sees: its roster and others with a mark, with their marks, by name.
    """
    meetings = session.execute(_meetings(principal, on=on)).all()
    students = session.execute(_students(principal, on=on)).all() if meetings else []
    of_session: dict[UUID, list[dict[str, Any]]] = {meeting.id: [] for meeting in meetings[:MOST_SESSIONS]}
    for row in students[:MOST_STUDENTS]:
        if row.session_id in of_session:
            of_session[row.session_id].append(_student(row))
    items = [_shown(meeting, of_session[meeting.id]) for meeting in meetings[:MOST_SESSIONS]]
    is_cut = len(meetings) > MOST_SESSIONS or len(students) > MOST_STUDENTS
    return {"on": on, "items": items, "has_more": is_cut}


def _shown(meeting: AnyRow, students: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    marks = [student["mark"] for student in students if student["mark"] is not None]
    counts = {name: sum(mark["counts_as"] == name for mark in marks) for name in COUNTS_AS}
    values = dict(meeting._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it
    return {**values, "counts": {**counts, "unmarked": len(students) - len(marks)}, "students": students}


def _student(row: AnyRow) -> dict[str, Any]:
    values = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it
    mark = {name: values.pop(f"mark_{name}") for name in MARK}
    return {**values, "mark": mark if mark["id"] is not None else None}


def _is_mine(principal: Principal, on: Any) -> ColumnElement[bool]:
    """Return the condition that a session is one of the principal's own: open gym is no one's."""
    own = and_(visible_to(principal, AttendanceSession), AttendanceSession.local_date == on)
    if principal.scope is Scope.OWN:
        return own
    return and_(own, AttendanceSession.group_id.in_(trained_group_ids(principal)))


@prepared
def _meetings(principal: Principal, *, on: date) -> AnySelect:
    one = AttendanceSession
    return (
        select(
            *(one.id, one.group_id, Group.code.label("group_code"), Group.name.label("group_name"), one.local_date),
            *(one.slot, one.starts_at, one.ends_at, one.status, one.version),
            func.coalesce(RegisterVersion.version, 0).label("register_version"),
        )
        .join(Group, and_(Group.organization_id == one.organization_id, Group.id == one.group_id))
        .outerjoin(
            RegisterVersion, and_(RegisterVersion.organization_id == one.organization_id, RegisterVersion.id == one.id)
        )
        .where(_is_mine(principal, on))
        .order_by(one.starts_at.asc().nulls_last(), one.slot.asc().nulls_last(), Group.sort_name, one.id)
        .limit(MOST_SESSIONS + 1)
    )


@prepared
def _students(principal: Principal, *, on: date) -> AnySelect:
    """Select the students of all sessions with one statement; ``_meetings`` has the sessions themselves."""
    one, mark = AttendanceSession, AttendanceRecord
    meetings = select(one.id, one.group_id).where(_is_mine(principal, on)).cte("meetings")
    own = Enrolment.organization_id == principal.organization_id
    enrolled = (
        select(meetings.c.id.label("session_id"), Enrolment.student_id, true().label("is_on_roster"))
        .join(Enrolment, and_(own, Enrolment.group_id == meetings.c.group_id))
        .where(enrolled_on(on))
    )
    marked = select(mark.session_id, mark.student_id, ~true()).where(
        mark.organization_id == principal.organization_id,
        mark.local_date == on,
        mark.session_id.in_(select(meetings.c.id)),
    )
    both = union_all(enrolled, marked).subquery("both")
    people = (
        select(both.c.session_id, both.c.student_id, func.bool_or(both.c.is_on_roster).label("is_on_roster"))
        .group_by(both.c.session_id, both.c.student_id)
        .subquery("people")
    )
    same = and_(mark.session_id == people.c.session_id, mark.student_id == people.c.student_id)
    return (
        select(
            *(people.c.session_id, Student.id.label("student_id"), Student.code.label("student_code")),
            *(Student.given_name, Student.family_name, Student.preferred_name),
            and_(people.c.is_on_roster, still_there(on)).label("is_on_roster"),
            *(getattr(mark, name).label(f"mark_{name}") for name in MARK),
        )
        .select_from(people)
        .join(Student, and_(Student.organization_id == principal.organization_id, Student.id == people.c.student_id))
        .outerjoin(mark, and_(mark.organization_id == principal.organization_id, mark.local_date == on, same))
        .where(visible_to(principal, Student), or_(still_there(on), mark.id.is_not(None)))
        .order_by(Student.sort_name, Student.id, people.c.session_id)
        .limit(MOST_STUDENTS + 1)
    )
