"""The absent students of a day: reason, number of absences in a row, and whom to call."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import and_, select, tuple_

from campshub.attendance.models import ATTENDED, AttendanceRecord
from campshub.core.db.session import Session
from campshub.core.security.permissions import Permission
from campshub.core.security.principal import Principal, visible_to
from campshub.reports.document import Column, Is
from campshub.reports.kinds import Part, ReportArguments, ReportKind, Sums, full_name, group, kind
from campshub.students.models import Group, Student
from campshub.students.queries import groups
from campshub.students.queries.guardians import guardians_of_student

# How many days back absences in a row are counted.
DAYS_BACK = 60
_MARK = AttendanceRecord


@kind
class AbsentTodayReport(ReportKind):
    """Students who are absent or excused on one day, without deleted students."""

    name, title = "absent_today", "Absent"
    permissions = frozenset({Permission.ATTENDANCE_READ, Permission.GROUPS_READ, Permission.STUDENTS_READ})
    takes: ClassVar = {"group_id": group()}
    landscape = True
    at_once = 1_000

    def subject(self, session: Session, principal: Principal, arguments: ReportArguments) -> list[str]:
        """Return the group, if there is one, and the date."""
        group_id = arguments.id("group_id")
        lines = [groups.get_group(session, principal, group_id, on=arguments.on)["name"]] if group_id else []
        return [*lines, f"{arguments.on}"]

    def columns(self, arguments: ReportArguments) -> Sequence[Column]:
        """Return the columns needed for a call."""
        del arguments
        return (
            Column("Member", mm=44),
            Column("Group", mm=32),
            Column("Roll no", mm=18),
            Column("Mark", mm=17),
            Column("Reason", mm=48),
            Column("Guardian", mm=38),
            Column("Phone", mm=30),
            Column("E-mail", mm=50),
            Column("Absences\nin a row", Is.NUMBER, 19),
        )

    def counted(self, principal: Principal, arguments: ReportArguments) -> Any:
        """Return the query of the absent students."""
        return self._absent(principal, arguments, None)

    def gather(
        self,
        session: Session,
        principal: Principal,
        arguments: ReportArguments,
        after: Sequence[Any] | None,
        sums: Sums,
    ) -> Part:
        """Read the next absent students, by name."""
        del sums
        found = session.execute(self._absent(principal, arguments, after)).all()
        in_a_row = _in_a_row(session, principal, arguments, {row.student_id for row in found})
        rows = [
            [
                full_name(row),
                row.group_name,
                row.roll,
                row.code,
                row.note,
                *_guardian(row),
                in_a_row.get(row.student_id, 0),
            ]
            for row in found
        ]
        last = found[-1] if len(found) == self.at_once else None
        return Part(rows, [last.sort_name, str(last.id)] if last is not None else None)

    def _absent(self, principal: Principal, arguments: ReportArguments, after: Sequence[Any] | None) -> Any:
        own = _MARK.organization_id
        rows = (
            select(
                *(_MARK.id, _MARK.student_id, _MARK.code, _MARK.note, Student.sort_name, Student.given_name),
                *(
                    Student.family_name,
                    Student.code.label("roll"),
                    guardians_of_student(principal),
                    Group.name.label("group_name"),
                ),
            )
            .join(Student, and_(Student.organization_id == own, Student.id == _MARK.student_id))
            .outerjoin(Group, and_(Group.organization_id == own, Group.id == _MARK.group_id))
            .where(visible_to(principal, _MARK), visible_to(principal, Student), Student.deleted_at.is_(None))
            .where(_MARK.local_date == arguments.on, _MARK.counts_as.in_(("absent", "excused")))
            .order_by(Student.sort_name, _MARK.id)
            .limit(self.at_once)
        )
        if (group_id := arguments.id("group_id")) is not None:
            rows = rows.where(_MARK.group_id == group_id)
        if after is not None:
            rows = rows.where(tuple_(Student.sort_name, _MARK.id) > (after[0], UUID(after[1])))
        return rows


def _guardian(row: Any) -> list[str | None]:
    first: dict[str, Any] = next(iter(row.guardians or ()), {})
    return [first.get("name"), first.get("phone"), first.get("email")]


def _in_a_row(
    session: Session, principal: Principal, arguments: ReportArguments, student_ids: set[UUID]
) -> dict[UUID, int]:
    """Count each student's absences since they last attended; an excused mark neither counts nor ends the count."""
    if not student_ids:
        return {}
    rows = session.execute(
        select(_MARK.student_id, _MARK.counts_as)
        .where(visible_to(principal, _MARK), _MARK.student_id.in_(student_ids))
        .where(_MARK.local_date <= arguments.on, _MARK.local_date > arguments.on - timedelta(days=DAYS_BACK))
        .order_by(_MARK.local_date.desc(), _MARK.id.desc())
    )
    counted: dict[UUID, int] = {}
    ended: set[UUID] = set()
    for row in rows:
        if row.counts_as in ATTENDED:
            ended.add(row.student_id)
        elif row.counts_as == "absent" and row.student_id not in ended:
            counted[row.student_id] = counted.get(row.student_id, 0) + 1
    return counted
