"""Each group's registers of a range of dates: strength, marks, marks that are missing, and the rate."""

from collections.abc import Sequence
from typing import Any, ClassVar

from campshub.core.db.session import Session
from campshub.core.security.permissions import Permission
from campshub.core.security.principal import Principal
from campshub.reports.document import Column, Is
from campshub.reports.kinds import Part, ReportArguments, ReportKind, Sums, group, kind, registers
from campshub.students.queries import groups


class GroupsReport(ReportKind):
    """A report with a row for each group that had sessions."""

    permissions = frozenset({Permission.ATTENDANCE_READ, Permission.GROUPS_READ})
    takes: ClassVar = {"group_id": group()}
    most_days = 400

    def subject(self, session: Session, principal: Principal, arguments: ReportArguments) -> list[str]:
        """Return the group, if there is one, and the dates."""
        group_id = arguments.id("group_id")
        lines = [groups.get_group(session, principal, group_id, on=arguments.last_date)["name"]] if group_id else []
        return [*lines, f"{arguments.first_date} to {arguments.last_date}"]

    def counted(self, principal: Principal, arguments: ReportArguments) -> Any:
        """Return the query of the groups."""
        return registers.by_group(principal, arguments, None, most=self.at_once)

    def gather(
        self,
        session: Session,
        principal: Principal,
        arguments: ReportArguments,
        after: Sequence[Any] | None,
        sums: Sums,
    ) -> Part:
        """Read the next groups, by name."""
        del sums
        found = session.execute(registers.by_group(principal, arguments, after, most=self.at_once)).all()
        return Part([self.row(one) for one in found], registers.next_group(found, self.at_once))

    def row(self, found: Any) -> list[Any]:
        """Return the row of a group."""
        raise NotImplementedError


@kind
class GroupSummaryReport(GroupsReport):
    """A summary of each group's registers."""

    name, title = "group_summary", "Group summary"
    landscape = True

    def columns(self, arguments: ReportArguments) -> Sequence[Column]:
        """Return the columns: the group, and its marks by what they count as."""
        del arguments
        counts = ("Present", "Late", "Left early", "Absent", "Excused", "Not taken")
        return (
            Column("Group", mm=66),
            Column("Strength", Is.NUMBER, 20),
            Column("Sessions", Is.NUMBER, 20),
            Column("Scheduled", Is.NUMBER, 22),
            *(Column(name, Is.NUMBER, 20) for name in counts),
            Column("%", Is.PERCENT, 16),
        )

    def row(self, found: Any) -> list[Any]:
        """Return the row of a group."""
        counts = (found.present, found.late, found.left_early, found.absent, found.excused, found.not_taken)
        sizes = (found.strength, found.sessions, found.scheduled)
        return [found.name, *map(int, (*sizes, *counts)), registers.share(found.attended, found.rated)]

    def legend(self, session: Session, principal: Principal) -> str:
        """Return the meaning of the columns."""
        del session, principal
        return (
            "Strength: the most students of one session. Scheduled: marks that were expected until today. Not taken:"
            " marks that are missing, which are no absences. %: attended marks of those in the rate."
        )


@kind
class AverageDailyAttendanceReport(GroupsReport):
    """The average daily attendance of each group."""

    name, title = "average_daily_attendance", "Average daily attendance"

    def columns(self, arguments: ReportArguments) -> Sequence[Column]:
        """Return the columns: days possible, present and absent, and the averages."""
        del arguments
        return (
            Column("Group", mm=50),
            Column("Members", Is.NUMBER, 18),
            Column("Days", Is.NUMBER, 14),
            Column("Possible", Is.NUMBER, 18),
            Column("Present", Is.NUMBER, 18),
            Column("Absent", Is.NUMBER, 16),
            Column("ADA %", Is.PERCENT, 16),
            Column("Present\na day", Is.NUMBER, 18),
            Column("Absent\na day", Is.NUMBER, 18),
        )

    def row(self, found: Any) -> list[Any]:
        """Return the row of a group."""
        absent = int(found.absent + found.excused)
        averages = (round(count / found.days, 1) for count in (int(found.there), absent))
        sizes = (found.strength, found.days, found.scheduled, found.there)
        return [found.name, *map(int, sizes), absent, registers.share(found.there, found.scheduled), *averages]

    def legend(self, session: Session, principal: Principal) -> str:
        """Return the meaning of the columns."""
        del session, principal
        return (
            "Members: the most students of one session. Days: with a session until today. Possible: marks that were"
            " expected. Absent: also excused. ADA: present of possible; marks that are not taken are not present."
        )
