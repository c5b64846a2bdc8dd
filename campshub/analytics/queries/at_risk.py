"""Students at risk, by the rules of their organization.

- ``rate``: of the marks in the rate of the current week and of ``weeks`` weeks before it, less than ``rate`` per cent
  are attended. A student without such a mark is not at risk.
- ``absences``: the last ``absences`` marks in the rate were missed; they are looked for in the last months only.
- ``days_away``: the last visit was at least ``days_away`` days ago. A student who joined later is not at risk.

The rules are about active students who have not left, and consider all of a student's sessions, of whichever group. The
rollup has one row for each student and month, and the rules decide how many months are read: four in most cases.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Date, Integer, and_, case, cast, exists, func, literal_column, or_, select
from sqlalchemy.dialects.postgresql import aggregate_order_by

from campshub.accounts.models import Organization
from campshub.analytics.queries.rates import DIGITS
from campshub.attendance.models import AttendanceRecord, AttendanceStudentMonthStale, AttendanceStudentOutcome
from campshub.attendance.queries.rollups import OUTCOMES
from campshub.core.dates import month_start, week_start
from campshub.core.db.prepared import AnySelect, prepared
from campshub.core.db.session import Session
from campshub.core.paging import Page, PageRequest
from campshub.core.security.principal import Principal, visible_to
from campshub.students.models import Enrolment, Student
from campshub.students.queries.groups import require_visible_group
from campshub.students.queries.in_group import enrolled_on

# How many days back absences in a row are looked for, at least; with more of them, a week for each.
ABSENCES_DAYS = 91
_PER_CENT: ColumnElement[Any] = literal_column("100")
_NOTHING: ColumnElement[Any] = literal_column("''")
_ZERO: ColumnElement[Any] = literal_column("0")


@dataclass(frozen=True)
class Rules:
    """The rules of an organization; None: the rule is off."""

    rate: int | None
    weeks: int
    absences: int | None
    days_away: int | None

    def first_week(self, today: date) -> date:
        """Return the Monday from which on marks count for the rate."""
        return week_start(today) - timedelta(weeks=self.weeks)

    def first_month(self, today: date) -> date:
        """Return the first month that one of the rules needs."""
        days = [max(7 * self.absences, ABSENCES_DAYS) if self.absences else 0, self.days_away or 0]
        earliest = min(today - timedelta(days=max(days)), self.first_week(today) if self.rate else today)
        return month_start(earliest)

    def limits(self) -> dict[str, int]:
        """Return the limit of each rule that is on."""
        every = {"rate": self.rate, "absences": self.absences, "days_away": self.days_away}
        return {name: limit for name, limit in every.items() if limit is not None}


def rules_of(session: Session, principal: Principal) -> Rules:
    """Return the rules of the principal's organization."""
    row = session.execute(_rules(principal)).one()
    return Rules(row.at_risk_rate, row.at_risk_weeks, row.at_risk_absences, row.at_risk_days_away)


@prepared
def _rules(principal: Principal) -> AnySelect:
    found = Organization
    return select(found.at_risk_rate, found.at_risk_weeks, found.at_risk_absences, found.at_risk_days_away).where(
        found.id == principal.organization_id
    )


def list_at_risk(
    session: Session, principal: Principal, *, today: date, page: PageRequest, group_id: UUID | None, rule: str | None
) -> Page:
    """List the students whom the principal sees and who meet a rule, by name, with the reasons.

    :raises NotFound: the principal sees no such group.
    """
    rules = rules_of(session, principal)
    limits = {name: limit for name, limit in rules.limits().items() if rule in (None, name)}
    query = _listed(principal, **_given(rules, limits, today), group_id=group_id, page=page)
    found = page.read(session, query)
    if not found.rows and group_id is not None:
        require_visible_group(session, principal, group_id)
    return replace(found, rows=[_described(row, rules.limits()) for row in found.rows])


def every_at_risk(
    session: Session, principal: Principal, *, today: date, group_id: UUID | None = None
) -> list[dict[str, Any]]:
    """Return all students whom the principal sees and who meet a rule, by name, with the reasons."""
    rules = rules_of(session, principal)
    limits = rules.limits()
    if not limits:
        return []
    rows = session.execute(_every(principal, **_given(rules, limits, today), group_id=group_id))
    return [_described(row, limits) for row in rows]


def _given(rules: Rules, limits: Mapping[str, int], today: date) -> dict[str, Any]:
    """Return the values of a statement; the limit of a rule that does not decide who is listed is None."""
    first_week = rules.first_week(today)
    first_month = month_start(first_week)
    return {
        "on": today,
        "first_month": rules.first_month(today),
        # The month in which the rate begins, and the number of its weeks that do not count.
        "rate_month": first_month,
        "skipped_weeks": (first_week - week_start(first_month)).days // 7,
        "rate": limits.get("rate"),
        "absences": limits.get("absences"),
        "days_away": limits.get("days_away"),
    }


@prepared
def _listed(principal: Principal, *, group_id: Any, page: PageRequest, **given: Any) -> AnySelect:
    rows = _of_group(principal, _at_risk(principal, **given), group_id, given["on"])
    return page.ordered(rows, order=(Student.sort_name, Student.id))


@prepared
def _every(principal: Principal, *, group_id: Any, **given: Any) -> AnySelect:
    rows = _of_group(principal, _at_risk(principal, **given), group_id, given["on"])
    return rows.order_by(Student.sort_name, Student.id)


def _of_group(principal: Principal, rows: AnySelect, group_id: Any, on: Any) -> AnySelect:
    """Keep only the students who are in a group on a date, if there is one."""
    if group_id is None:
        return rows
    own = and_(Enrolment.organization_id == Student.organization_id, Enrolment.student_id == Student.id)
    is_there = and_(own, Enrolment.group_id == group_id, enrolled_on(on), visible_to(principal, Enrolment))
    return rows.where(exists(select(1).select_from(Enrolment).where(is_there).correlate(Student)))


def _at_risk(principal: Principal, *, on: Any, rate: Any, absences: Any, days_away: Any, **given: Any) -> AnySelect:
    """Return the visible students who meet a rule, with what the rules are about.

    The months are grouped by the student's row, whose number the planner knows. Of groups of the rollup's rows it
    expects two hundred, and would compare each student with each of them.
    """
    months = _months(principal, first_month=given["first_month"])
    outcomes = func.coalesce(func.string_agg(months.c.outcomes, aggregate_order_by(_NOTHING, months.c.month)), _NOTHING)
    rated = cast(func.coalesce(func.sum(_rated(months, given["rate_month"], given["skipped_weeks"])), _ZERO), Integer)
    values = {
        "rated": rated,
        "attended": func.length(func.replace(func.right(outcomes, rated), literal_column("'m'"), _NOTHING)),
        "missed_in_a_row": func.length(outcomes) - func.length(func.rtrim(outcomes, literal_column("'m'"))),
    }
    last_attended_on = func.max(months.c.last_attended_on)
    joined_before = on - func.coalesce(Student.joined_on, cast(Student.created_at, Date))
    away = func.least(on - last_attended_on, joined_before)
    met = {
        "rate": None if rate is None else values["attended"] * _PER_CENT < values["rated"] * rate,
        "absences": None if absences is None else values["missed_in_a_row"] >= absences,
        "days_away": None if days_away is None else away >= days_away,
    }
    return (
        select(
            *(Student.id.label("student_id"), Student.code, Student.given_name, Student.family_name),
            *(value.label(name) for name, value in values.items()),
            *(last_attended_on.label("last_attended_on"), (on - last_attended_on).label("days_away")),
            joined_before.label("joined_before"),
        )
        .select_from(Student)
        .outerjoin(months, months.c.student_id == Student.id)
        .where(visible_to(principal, Student), Student.deleted_at.is_(None), Student.status == "active")
        .where(or_(Student.left_on.is_(None), Student.left_on >= on))
        .group_by(Student.organization_id, Student.id)
        .having(or_(literal_column("false"), *(one for one in met.values() if one is not None)))
    )


def _months(principal: Principal, *, first_month: Any) -> Any:
    """Return the outcomes of the organization's students, month by month."""
    own = principal.organization_id
    model, stale, mark = AttendanceStudentOutcome, AttendanceStudentMonthStale, AttendanceRecord
    return OUTCOMES.current(
        stored=[model.organization_id == own, model.month >= first_month],
        stale=[stale.organization_id == own, stale.month >= first_month],
        raw=[mark.organization_id == own, mark.local_date >= first_month],
    )


def _rated(months: Any, rate_month: Any, skipped_weeks: Any) -> ColumnElement[Any]:
    """Return how many of a month's outcomes count for the rate: always the last ones."""
    whole = func.length(months.c.outcomes)
    skipped = func.coalesce(months.c.week_ends[cast(skipped_weeks, Integer)], _ZERO)
    return case((months.c.month > rate_month, whole), (months.c.month == rate_month, whole - skipped), else_=_ZERO)


def _described(row: Any, limits: Mapping[str, int]) -> dict[str, Any]:
    """Return a student with the reasons of the rules that are met, each with what was found and the rule's limit."""
    found = {
        "rate": row.attended * 100 // row.rated if row.rated else None,
        "absences": row.missed_in_a_row,
        "days_away": row.days_away,
    }
    away = row.joined_before if row.days_away is None else min(row.days_away, row.joined_before)
    met = {
        "rate": row.attended * 100 < row.rated * limits.get("rate", 0),
        "absences": row.missed_in_a_row >= limits.get("absences", row.missed_in_a_row + 1),
        "days_away": away >= limits.get("days_away", away + 1),
    }
    return {
        **{name: getattr(row, name) for name in ("student_id", "code", "given_name", "family_name")},
        **{name: getattr(row, name) for name in ("rated", "attended", "missed_in_a_row", "last_attended_on")},
        "rate": round(row.attended / row.rated, DIGITS) if row.rated else None,
        "reasons": [
            {"rule": name, "value": found[name], "threshold": limit} for name, limit in limits.items() if met[name]
        ],
    }
