"""One student's marks of a range of dates, with the attendance rate of each month."""

from collections.abc import Sequence
from typing import Any, ClassVar

from campshub.attendance.models import ATTENDED
from campshub.core.charts import BarChart
from campshub.core.db.session import Session
from campshub.core.security.permissions import Permission
from campshub.core.security.principal import Principal
from campshub.reports.document import Column, Is
from campshub.reports.kinds import Part, ReportArguments, ReportKind, Sums, clock, full_name, kind, marks, student
from campshub.students.queries import students


@kind
class StudentAttendanceReport(ReportKind):
    """A student's attendance history."""

    name, title = "student_attendance", "Attendance history"
    permissions = frozenset({Permission.ATTENDANCE_READ, Permission.STUDENTS_READ})
    takes: ClassVar = {"student_id": student()}
    needs = frozenset({"student_id"})
    most_days = 400
    template = "student"

    def subject(self, session: Session, principal: Principal, arguments: ReportArguments) -> list[str]:
        """Return the student and the dates."""
        found = students.get_student(session, principal, arguments.student_id)
        return [f"{full_name(found)} ({found.code})", f"{arguments.first_date} to {arguments.last_date}"]

    def columns(self, arguments: ReportArguments) -> Sequence[Column]:
        """Return the columns of a mark."""
        del arguments
        return (
            Column("Date", Is.DATE, 22),
            Column("Group", mm=40),
            Column("Session", mm=18),
            Column("Mark", mm=20),
            Column("In", Is.TIME, 14),
            Column("Out", Is.TIME, 14),
            Column("Minutes", Is.NUMBER, 16),
            Column("Note", mm=46),
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
        """Read the next marks, by date; count them by month."""
        local_time = clock(principal)
        found = session.execute(marks.by_date(principal, arguments, after, most=self.at_once)).all()
        rows = []
        for row in found:
            month = sums.setdefault(f"{row.local_date:%Y-%m}", [0, 0])
            month[0] += row.in_rate and row.counts_as in ATTENDED
            month[1] += row.in_rate
            times = (local_time(row.check_in_at), local_time(row.check_out_at), row.minutes)
            rows.append([row.local_date.isoformat(), row.group_name, row.slot, row.code, *times, row.note])
        return Part.by_date(rows, found, self.at_once)

    def chart(self, sums: Sums) -> BarChart | None:
        """Return the rate of each month."""
        bars = [(month, round(100 * there / rated, 1)) for month, (there, rated) in sorted(sums.items()) if rated]
        return BarChart("Attendance by month", bars, "%") if bars else None
