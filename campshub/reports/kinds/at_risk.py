"""The students at risk, by the rules of the organization, with the reasons."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from campshub.analytics.queries import at_risk
from campshub.core.db.session import Session
from campshub.core.security.permissions import Permission
from campshub.core.security.principal import Principal
from campshub.reports.document import Column, Is
from campshub.reports.kinds import Part, ReportArguments, ReportKind, Sums, group, kind
from campshub.students import names
from campshub.students.queries import groups

_REASONS = {"rate": "rate below {} %", "absences": "{} missed in a row", "days_away": "no visit for {} days"}


@kind
class AtRiskReport(ReportKind):
    """The students who meet a rule on a day, with all marks that exist when the report is made."""

    name, title = "at_risk", "Students at risk"
    permissions = frozenset({Permission.ATTENDANCE_READ, Permission.STUDENTS_READ, Permission.ORGANIZATION_READ})
    takes: ClassVar = {"group_id": group()}
    landscape = True

    def subject(self, session: Session, principal: Principal, arguments: ReportArguments) -> list[str]:
        """Return the group, if there is one, the date, and the rules."""
        group_id = arguments.id("group_id")
        lines = [groups.get_group(session, principal, group_id, on=arguments.on)["name"]] if group_id else []
        limits = at_risk.rules_of(session, principal).limits()
        rules = "; ".join(_REASONS[name].format(limit) for name, limit in limits.items())
        return [*lines, f"{arguments.on}", f"Rules: {rules or 'none'}"]

    def columns(self, arguments: ReportArguments) -> Sequence[Column]:
        """Return the columns of a student."""
        del arguments
        return (
            Column("Member", mm=62),
            Column("Roll no", mm=26),
            Column("Marks", Is.NUMBER, 18),
            Column("Attended", Is.NUMBER, 20),
            Column("%", Is.PERCENT, 16),
            Column("Missed\nin a row", Is.NUMBER, 20),
            Column("Last seen", Is.DATE, 24),
            Column("Reasons", mm=84),
        )

    def gather(
        self,
        session: Session,
        principal: Principal,
        arguments: ReportArguments,
        after: Sequence[Any] | None,
        sums: Sums,
    ) -> Part:
        """Read all of them at once, by name: they are computed together."""
        del after, sums
        found = at_risk.every_at_risk(session, principal, today=arguments.on, group_id=arguments.id("group_id"))
        return Part([_row(one) for one in found], None)

    def legend(self, session: Session, principal: Principal) -> str:
        """Return the meaning of the columns."""
        weeks = at_risk.rules_of(session, principal).weeks
        return f"Marks in the rate, and attended ones: of this week and of {weeks} weeks before it."


def _row(found: Mapping[str, Any]) -> list[Any]:
    seen = found["last_attended_on"]
    reasons = "; ".join(_REASONS[one["rule"]].format(one["threshold"]) for one in found["reasons"])
    return [
        *(names.full_name(found["given_name"], found["family_name"]), found["code"]),
        *(found["rated"], found["attended"], found["rate"], found["missed_in_a_row"]),
        *(seen.isoformat() if seen else None, reasons),
    ]
