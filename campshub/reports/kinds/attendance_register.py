"""The register of a group: a row for each person, a column for each day, and totals."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import and_, select, tuple_, union

from campshub.attendance.models import ATTENDED, AttendanceRecord
from campshub.core.db.session import Session
from campshub.core.security.permissions import Permission
from campshub.core.security.principal import Principal, visible_to
from campshub.reports.document import Column, Is, Row
from campshub.reports.kinds import Part, ReportArguments, ReportKind, Sums, full_name, group, kind, marks
from campshub.students.models import Enrolment, Student
from campshub.students.queries import groups
from campshub.students.queries.in_group import in_group_during

_WEEKDAYS = "MTWTFSS"
_DAY_TITLES = ("Attended", "Absent", "Excused")


@kind
class AttendanceRegisterReport(ReportKind):
    """A group's register for a range of dates of at most 31 days."""

    name, title = "attendance_register", "Attendance register"
    permissions = frozenset({Permission.ATTENDANCE_READ, Permission.GROUPS_READ, Permission.STUDENTS_READ})
    takes: ClassVar = {"group_id": group()}
    needs = frozenset({"group_id"})
    most_days = 31
    landscape = True
    template, margin_mm = "register", 10
    at_once = 1_000

    def subject(self, session: Session, principal: Principal, arguments: ReportArguments) -> list[str]:
        """Return the group's name and the dates."""
        found = groups.get_group(session, principal, arguments.group_id, on=arguments.last_date)
        return [f"{found['name']} ({found['code']})", f"{arguments.first_date} to {arguments.last_date}"]

    def columns(self, arguments: ReportArguments) -> Sequence[Column]:
        """Return member and roll number, the days, and the totals."""
        days = [arguments.first_date + timedelta(days=n) for n in range(arguments.days)]
        return (
            Column("Member", mm=44),
            Column("Roll no", mm=20),
            *(Column(f"{day.day}\n{_WEEKDAYS[day.weekday()]}", mm=6, centred=True) for day in days),
            *(Column(title, Is.NUMBER, 8) for title in ("P", "A", "L", "E", "LE")),
            Column("%", Is.PERCENT, 12),
        )

    def counted(self, principal: Principal, arguments: ReportArguments) -> Any:
        """Return the query of the members."""
        return self._members(principal, arguments, None)

    def gather(
        self,
        session: Session,
        principal: Principal,
        arguments: ReportArguments,
        after: Sequence[Any] | None,
        sums: Sums,
    ) -> Part:
        """Read the next members, by name, with their marks."""
        people = session.execute(self._members(principal, arguments, after)).all()
        of: dict[UUID, list[Any]] = {person.id: [] for person in people}
        if people:
            for mark in session.execute(_marks_of(principal, arguments, list(of))):
                of[mark.student_id].append(mark)
        _add_up(sums, arguments, [mark for person in people for mark in of[person.id]])
        rows = [_row(arguments, person, of[person.id]) for person in people]
        last = people[-1] if len(people) == self.at_once else None
        return Part(rows, [last.sort_name, str(last.id)] if last is not None else None)

    def summary(self, sums: Sums) -> Sequence[Row]:
        """Return how many attended, were absent and were excused on each day, and the totals of the marks."""
        if not sums:
            return ()
        days, totals = sums["days"], sums["totals"]
        by_day = [
            [title, None, *(day[index] if any(day) else None for day in days), *[None] * (len(marks.COUNTED) + 1)]
            for index, title in enumerate(_DAY_TITLES)
        ]
        there, rated = sums["rated"]
        return (*by_day, ["Total", None, *[None] * len(days), *totals, there / rated if rated else None])

    def legend(self, session: Session, principal: Principal) -> str:
        """Return the meaning of the letters."""
        return marks.legend(session, principal)

    def _members(self, principal: Principal, arguments: ReportArguments, after: Sequence[Any] | None) -> Any:
        """Return the query of everyone who was in the group on any of the days, or has a mark in it.

        Students with a mark are listed even if they were deleted or never were in the group, as in the register.
        """
        enrolled = (
            select(Enrolment.student_id)
            .join(
                Student, and_(Student.organization_id == Enrolment.organization_id, Student.id == Enrolment.student_id)
            )
            .where(visible_to(principal, Enrolment), Enrolment.group_id == arguments.group_id)
            .where(in_group_during(arguments.first_date, arguments.last_date))
        )
        people = union(enrolled, _marks(principal, arguments, AttendanceRecord.student_id))
        rows = (
            select(Student.id, Student.code, Student.given_name, Student.family_name, Student.sort_name)
            .where(visible_to(principal, Student), Student.id.in_(people))
            .where(groups.group_is_visible(principal, arguments.group_id))
            .order_by(Student.sort_name, Student.id)
            .limit(self.at_once)
        )
        if after is not None:
            rows = rows.where(tuple_(Student.sort_name, Student.id) > (after[0], UUID(after[1])))
        return rows


def _marks(principal: Principal, arguments: ReportArguments, *columns: Any) -> Any:
    mark = AttendanceRecord
    return (
        select(*columns)
        .where(visible_to(principal, mark), mark.group_id == arguments.group_id)
        .where(mark.local_date >= arguments.first_date, mark.local_date <= arguments.last_date)
    )


def _marks_of(principal: Principal, arguments: ReportArguments, student_ids: Sequence[UUID]) -> Any:
    mark = AttendanceRecord
    found = _marks(principal, arguments, mark.student_id, mark.local_date, mark.code, mark.counts_as, mark.in_rate)
    return found.where(mark.student_id.in_(student_ids)).order_by(mark.local_date, mark.id)


def _add_up(sums: Sums, arguments: ReportArguments, found: Sequence[Any]) -> None:
    """Add marks to the sums of the days and of the whole report."""
    if not found:
        return
    days = sums.setdefault("days", [[0] * len(_DAY_TITLES) for _ in range(arguments.days)])
    totals = sums.setdefault("totals", [0] * len(marks.COUNTED))
    rated = sums.setdefault("rated", [0, 0])
    for mark in found:
        day = days[(mark.local_date - arguments.first_date).days]
        is_there = mark.counts_as in ATTENDED
        for index, counts in enumerate((is_there, mark.counts_as == "absent", mark.counts_as == "excused")):
            day[index] += counts
        rated[0] += mark.in_rate and is_there
        rated[1] += mark.in_rate
    counts_of_all, _ = marks.totals(found)
    totals[:] = [one + more for one, more in zip(totals, counts_of_all, strict=True)]


def _row(arguments: ReportArguments, person: Any, found: Sequence[Any]) -> Row:
    days = [""] * arguments.days
    for mark in found:
        days[(mark.local_date - arguments.first_date).days] += marks.letter(mark.code)
    counts, rate = marks.totals(found)
    return [full_name(person), person.code, *days, *counts, rate]
