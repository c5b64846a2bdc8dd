"""All marks of a range of dates as a list, for further calculation."""

from collections.abc import Sequence
from typing import Any, ClassVar

from campshub.core.db.session import Session
from campshub.core.security.permissions import Permission
from campshub.core.security.principal import Principal
from campshub.reports.document import Column, Is
from campshub.reports.kinds import (
    Part,
    ReportArguments,
    ReportKind,
    Sums,
    clock,
    full_name,
    group,
    kind,
    marks,
    student,
)
from campshub.students.queries import groups, students


@kind
class AttendanceRecordsReport(ReportKind):
    """The marks of a group, a student, or everyone."""

    name, title = "attendance_records", "Attendance records"
    permissions = frozenset({Permission.ATTENDANCE_READ, Permission.GROUPS_READ, Permission.STUDENTS_READ})
    takes: ClassVar = {"group_id": group(), "student_id": student()}
    most_days = 400
    landscape = True
    at_once = 10_000

    def subject(self, session: Session, principal: Principal, arguments: ReportArguments) -> list[str]:
        """Return the group, the student, and the dates."""
        lines = []
        if (group_id := arguments.id("group_id")) is not None:
            lines.append(groups.get_group(session, principal, group_id, on=arguments.last_date)["name"])
        if (student_id := arguments.id("student_id")) is not None:
            lines.append(full_name(students.get_student(session, principal, student_id)))
        return [*lines, f"{arguments.first_date} to {arguments.last_date}"]

    def columns(self, arguments: ReportArguments) -> Sequence[Column]:
        """Return the columns of a mark."""
        del arguments
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
            Column("Note", mm=50),
        )

    def counted(self, principal: Principal, arguments: ReportArguments) -> Any:
        """Return the query of the marks."""
        return marks.by_date(principal, arguments, None, most=self.at_once)

    def gather(
        self,
        session: Session,
        principal: Principal,
        arguments: ReportArguments,
        after: Sequence[Any] | None,
        sums: Sums,
    ) -> Part:
        """Read the next marks, by date."""
        del sums
        local_time = clock(principal)
        found = session.execute(marks.by_date(principal, arguments, after, most=self.at_once)).all()
        rows = [
            [
                row.local_date.isoformat(),
                full_name(row),
                row.roll,
                row.group_name,
                row.slot,
                row.code,
                local_time(row.check_in_at),
                local_time(row.check_out_at),
                row.minutes,
                row.note,
            ]
            for row in found
        ]
        return Part.by_date(rows, found, self.at_once)
