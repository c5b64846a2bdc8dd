"""Every mark from one date to another, as a list: for whoever goes on calculating."""

from collections.abc import Sequence
from datetime import date
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import and_, select, tuple_

from campshub.attendance.models import AttendanceRecord, AttendanceSession
from campshub.core.db.session import Session
from campshub.core.security.permissions import Permission
from campshub.core.security.principal import Principal, visible_to
from campshub.reports.document import Column, Is
from campshub.reports.kinds import Figures, Given, Kind, Part, clock, full_name, group, kind, student
from campshub.students.models import Group, Student
from campshub.students.queries import groups, students

_MARK = AttendanceRecord


@kind
class AttendanceRecords(Kind):
    """The marks of a group, a student, or everyone."""

    name, title = "attendance_records", "Attendance records"
    permissions = frozenset({Permission.ATTENDANCE_READ, Permission.GROUPS_READ, Permission.STUDENTS_READ})
    takes: ClassVar = {"group_id": group(), "student_id": student()}
    most_days = 400
    landscape = True
    at_once = 10_000

    def subject(self, session: Session, principal: Principal, given: Given) -> list[str]:
        """Return the group, the student, and the dates."""
        lines = []
        if (group_id := given.id("group_id")) is not None:
            lines.append(groups.get_group(session, principal, group_id)["name"])
        if (student_id := given.id("student_id")) is not None:
            lines.append(full_name(students.get_student(session, principal, student_id)))
        return [*lines, f"{given.first} to {given.last}"]

    def columns(self, given: Given) -> Sequence[Column]:
        """Return what is told of a mark."""
        del given
        return (
            Column("Date", Is.DATE, 20),
            Column("Member", mm=50),
            Column("Roll no", mm=24),
            Column("Group", mm=36),
            Column("Session", mm=18),
            Column("Mark", mm=20),
            Column("In", Is.TIME, 13),
            Column("Out", Is.TIME, 13),
            Column("Minutes", Is.NUMBER, 15),
            Column("Note", mm=50, most_lines=3),
        )

    def gather(
        self, session: Session, principal: Principal, given: Given, after: Sequence[Any] | None, figures: Figures
    ) -> Part:
        """Read the next marks, by date."""
        del figures
        told = clock(principal)
        found = session.execute(self._marks(principal, given, after)).all()
        rows = [
            [
                row.local_date.isoformat(),
                full_name(row),
                row.roll,
                row.group_name,
                row.slot,
                row.code,
                told(row.check_in_at),
                told(row.check_out_at),
                row.minutes,
                row.note,
            ]
            for row in found
        ]
        last = found[-1] if len(found) == self.at_once else None
        return Part(rows, [last.local_date.isoformat(), str(last.id)] if last is not None else None)

    def _marks(self, principal: Principal, given: Given, after: Sequence[Any] | None) -> Any:
        own = _MARK.organization_id
        rows = (
            select(
                *(_MARK.local_date, _MARK.id, _MARK.code, _MARK.check_in_at, _MARK.check_out_at, _MARK.minutes),
                *(_MARK.note, Student.given_name, Student.family_name, Student.code.label("roll")),
                *(Group.name.label("group_name"), AttendanceSession.slot),
            )
            .join(Student, and_(Student.organization_id == own, Student.id == _MARK.student_id))
            .outerjoin(Group, and_(Group.organization_id == own, Group.id == _MARK.group_id))
            .join(
                AttendanceSession,
                and_(AttendanceSession.organization_id == own, AttendanceSession.id == _MARK.session_id),
            )
            .where(visible_to(principal, _MARK), visible_to(principal, Student))
            .where(_MARK.local_date >= given.first, _MARK.local_date <= given.last)
            .order_by(_MARK.local_date, _MARK.id)
            .limit(self.at_once)
        )
        for name in ("group_id", "student_id"):
            if (wanted := given.id(name)) is not None:
                rows = rows.where(getattr(_MARK, name) == wanted)
        if after is not None:
            # The date by itself as well: the planner leaves the months before it alone.
            rows = rows.where(_MARK.local_date >= date.fromisoformat(after[0]))
            rows = rows.where(tuple_(_MARK.local_date, _MARK.id) > (date.fromisoformat(after[0]), UUID(after[1])))
        return rows
