"""How many of the registers of each teacher's groups were submitted in time."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import Date, and_, cast, func, select, tuple_

from campshub.accounts.models import User
from campshub.attendance.models import AttendanceSession
from campshub.core.db.session import Session
from campshub.core.security.permissions import Permission
from campshub.core.security.principal import Principal, visible_to
from campshub.reports.document import Column, Is
from campshub.reports.kinds import Part, ReportArguments, ReportKind, Sums, group, kind, registers
from campshub.students.models import GroupTrainer
from campshub.students.queries import groups


@kind
class TeacherCompletionReport(ReportKind):
    """The registers of each teacher's groups until today: in time, late, and open."""

    name, title = "teacher_completion", "Registers by teacher"
    permissions = frozenset({Permission.ATTENDANCE_READ, Permission.GROUPS_READ, Permission.USERS_READ})
    takes: ClassVar = {"group_id": group()}
    most_days = 400

    def subject(self, session: Session, principal: Principal, arguments: ReportArguments) -> list[str]:
        """Return the group, if there is one, and the dates."""
        group_id = arguments.id("group_id")
        lines = [groups.get_group(session, principal, group_id, on=arguments.last_date)["name"]] if group_id else []
        return [*lines, f"{arguments.first_date} to {arguments.last_date}"]

    def columns(self, arguments: ReportArguments) -> Sequence[Column]:
        """Return the columns of a teacher."""
        del arguments
        return (
            Column("Teacher", mm=66),
            Column("Groups", Is.NUMBER, 20),
            Column("Sessions", Is.NUMBER, 22),
            Column("In time", Is.NUMBER, 20),
            Column("Late", Is.NUMBER, 18),
            Column("Open", Is.NUMBER, 18),
            Column("In time %", Is.PERCENT, 22),
        )

    def counted(self, principal: Principal, arguments: ReportArguments) -> Any:
        """Return the query of the teachers."""
        return self._teachers(principal, arguments, None)

    def gather(
        self,
        session: Session,
        principal: Principal,
        arguments: ReportArguments,
        after: Sequence[Any] | None,
        sums: Sums,
    ) -> Part:
        """Read the next teachers, by name."""
        del sums
        found = session.execute(self._teachers(principal, arguments, after)).all()
        rows = [
            [
                *(row.name, row.groups, row.sessions, row.in_time, row.submitted - row.in_time),
                *(row.sessions - row.submitted, registers.share(row.in_time, row.sessions)),
            ]
            for row in found
        ]
        last = found[-1] if len(found) == self.at_once else None
        return Part(rows, [last.sort_name, str(last.id)] if last is not None else None)

    def _teachers(self, principal: Principal, arguments: ReportArguments, after: Sequence[Any] | None) -> Any:
        own, meeting = principal.organization_id, AttendanceSession
        last_date = min(arguments.last_date, principal.today(datetime.now(UTC)))
        that_day = cast(func.timezone(principal.time_zone, meeting.submitted_at), Date)
        rows = (
            select(
                *(User.id, User.name, User.sort_name),
                func.count(meeting.group_id.distinct()).label("groups"),
                func.count().label("sessions"),
                func.count(meeting.submitted_at).label("submitted"),
                func.count().filter(that_day <= meeting.local_date).label("in_time"),
            )
            .select_from(meeting)
            .join(GroupTrainer, and_(GroupTrainer.organization_id == own, GroupTrainer.group_id == meeting.group_id))
            .join(User, User.id == GroupTrainer.user_id)
            .where(visible_to(principal, meeting), meeting.status != "cancelled")
            .where(meeting.local_date >= arguments.first_date, meeting.local_date <= last_date)
            .group_by(User.id)
            .order_by(User.sort_name, User.id)
            .limit(self.at_once)
        )
        if (group_id := arguments.id("group_id")) is not None:
            rows = rows.where(meeting.group_id == group_id)
        return rows if after is None else rows.where(tuple_(User.sort_name, User.id) > (after[0], UUID(after[1])))

    def legend(self, session: Session, principal: Principal) -> str:
        """Return the meaning of the columns."""
        del session, principal
        return (
            "The sessions of the groups that the teacher trains now. In time: submitted on the session's date. Late:"
            " submitted later. Open: not submitted."
        )
