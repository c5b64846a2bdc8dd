"""The members of a group on a date, with their contacts."""

from collections.abc import Sequence
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import and_, select, tuple_

from campshub.core.db.session import Session
from campshub.core.security.permissions import Permission
from campshub.core.security.principal import Principal, visible_to
from campshub.reports.document import Column, Is
from campshub.reports.kinds import Part, ReportArguments, ReportKind, Sums, full_name, group, kind
from campshub.students.models import Enrolment, Student
from campshub.students.queries import groups
from campshub.students.queries.guardians import guardians_of_student
from campshub.students.queries.in_group import in_group, is_latest


@kind
class RosterReport(ReportKind):
    """A group's roster as of a date."""

    name, title = "roster", "Roster"
    permissions = frozenset({Permission.GROUPS_READ, Permission.STUDENTS_READ})
    takes: ClassVar = {"group_id": group()}
    needs = frozenset({"group_id"})
    landscape = True

    def subject(self, session: Session, principal: Principal, arguments: ReportArguments) -> list[str]:
        """Return the group's name and the date."""
        found = groups.get_group(session, principal, arguments.group_id, on=arguments.on)
        return [f"{found['name']} ({found['code']})", f"{arguments.on}"]

    def columns(self, arguments: ReportArguments) -> Sequence[Column]:
        """Return the columns of a member and their contacts."""
        del arguments
        return (
            Column("Member", mm=46),
            Column("Roll no", mm=22),
            Column("Status", mm=18),
            Column("Phone", mm=32),
            Column("E-mail", mm=48),
            Column("Guardian", mm=38),
            Column("Guardian's phone", mm=32),
            Column("Since", Is.DATE, 20),
            Column("Until", Is.DATE, 20),
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
        """Read the next members, by name."""
        del sums
        found = session.execute(self._members(principal, arguments, after)).all()
        rows = []
        for row in found:
            guardian: dict[str, Any] = next(iter(row.guardians or ()), {})
            since, until = (day.isoformat() if day else None for day in (row.begins_on, row.ends_on))
            contacts = (row.phone, row.email, guardian.get("name"), guardian.get("phone"))
            rows.append([full_name(row), row.code, row.status, *contacts, since, until])
        last = found[-1] if len(found) == self.at_once else None
        return Part(rows, [last.sort_name, str(last.id)] if last is not None else None)

    def _members(self, principal: Principal, arguments: ReportArguments, after: Sequence[Any] | None) -> Any:
        rows = (
            select(
                *(Student.id, Student.code, Student.given_name, Student.family_name, Student.sort_name),
                *(Student.status, Student.phone, Student.email, guardians_of_student(principal)),
                *(Enrolment.begins_on, Enrolment.ends_on),
            )
            .select_from(Enrolment)
            .join(
                Student,
                and_(Student.organization_id == Enrolment.organization_id, Student.id == Enrolment.student_id),
            )
            .where(visible_to(principal, Enrolment), visible_to(principal, Student))
            .where(Enrolment.group_id == arguments.group_id, in_group(arguments.on), is_latest(arguments.on))
            .where(groups.group_is_visible(principal, arguments.group_id))
            .order_by(Student.sort_name, Student.id)
            .limit(self.at_once)
        )
        if after is not None:
            rows = rows.where(tuple_(Student.sort_name, Student.id) > (after[0], UUID(after[1])))
        return rows
