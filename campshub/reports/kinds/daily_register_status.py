"""The registers of a day: who should take each, whether and when it was taken, and what is missing."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import and_, func, literal_column, select, tuple_
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.orm import aliased

from campshub.accounts.models import User
from campshub.analytics.queries import registers
from campshub.attendance.models import AttendanceSession
from campshub.core.db.session import Session
from campshub.core.security.permissions import Permission
from campshub.core.security.principal import Principal
from campshub.reports.document import Column, Is
from campshub.reports.kinds import Part, ReportArguments, ReportKind, Sums, clock, group, kind
from campshub.students.models import Group, GroupTrainer
from campshub.students.queries import groups


@kind
class DailyRegisterStatusReport(ReportKind):
    """The sessions of groups on one day that were not cancelled."""

    name, title = "daily_register_status", "Register status"
    permissions = frozenset({Permission.ATTENDANCE_READ, Permission.GROUPS_READ, Permission.USERS_READ})
    takes: ClassVar = {"group_id": group()}
    landscape = True

    def subject(self, session: Session, principal: Principal, arguments: ReportArguments) -> list[str]:
        """Return the group, if there is one, and the date."""
        group_id = arguments.id("group_id")
        lines = [groups.get_group(session, principal, group_id, on=arguments.on)["name"]] if group_id else []
        return [*lines, f"{arguments.on}"]

    def columns(self, arguments: ReportArguments) -> Sequence[Column]:
        """Return the columns of a register."""
        del arguments
        return (
            Column("Group", mm=52),
            Column("Session", mm=20),
            Column("Start", Is.TIME, 14),
            Column("Teachers", mm=56),
            Column("Status", mm=22),
            Column("Taken at", Is.TIME, 18),
            Column("Taken by", mm=40),
            Column("Marked", Is.NUMBER, 16),
            Column("Expected", Is.NUMBER, 18),
            Column("Not taken", Is.NUMBER, 18),
        )

    def counted(self, principal: Principal, arguments: ReportArguments) -> Any:
        """Return the query of the registers."""
        return self._registers(principal, arguments, None)

    def gather(
        self,
        session: Session,
        principal: Principal,
        arguments: ReportArguments,
        after: Sequence[Any] | None,
        sums: Sums,
    ) -> Part:
        """Read the next registers, by group."""
        del sums
        found = session.execute(self._registers(principal, arguments, after)).all()
        at = clock(principal)
        rows = [
            [
                *(row.name, row.slot, at(row.starts_at), row.teachers, row.status, at(row.submitted_at), row.taken_by),
                *(int(row.marked), int(row.scheduled), int(row.not_taken)),
            ]
            for row in found
        ]
        last = found[-1] if len(found) == self.at_once else None
        return Part(rows, [last.sort_name, str(last.id)] if last is not None else None)

    def _registers(self, principal: Principal, arguments: ReportArguments, after: Sequence[Any] | None) -> Any:
        own, meeting, taker = principal.organization_id, AttendanceSession, aliased(User)
        # Nothing is missing in a session of a later day.
        on = min(arguments.on, principal.today(datetime.now(UTC)))
        found = registers.of_groups(principal, first_date=arguments.on, last_date=on, group_id=arguments.id("group_id"))
        names: Any = aggregate_order_by(literal_column("', '"), User.sort_name, User.id)
        teachers = (
            select(func.string_agg(User.name, names))
            .join(GroupTrainer, GroupTrainer.user_id == User.id)
            .where(GroupTrainer.organization_id == own, GroupTrainer.group_id == Group.id)
            .correlate(Group)
            .scalar_subquery()
        )
        rows = (
            select(
                *(meeting.id, Group.name, Group.sort_name, meeting.slot, meeting.starts_at, meeting.status),
                *(meeting.submitted_at, teachers.label("teachers"), taker.name.label("taken_by")),
                *(found.c.marked, found.c.scheduled, found.c.not_taken),
            )
            .select_from(found)
            .join(meeting, and_(meeting.organization_id == own, meeting.id == found.c.session_id))
            .join(Group, and_(Group.organization_id == own, Group.id == found.c.group_id))
            .outerjoin(taker, taker.id == meeting.submitted_by)
            .order_by(Group.sort_name, meeting.id)
            .limit(self.at_once)
        )
        return rows if after is None else rows.where(tuple_(Group.sort_name, meeting.id) > (after[0], UUID(after[1])))

    def legend(self, session: Session, principal: Principal) -> str:
        """Return the meaning of the columns."""
        del session, principal
        return "Taken: submitted. Not taken: marks that are missing, which are no absences."
