"""Students at risk, by the rules of their organization.

- ``rate``: of the marks in the rate of the current week and of ``at_risk_weeks`` weeks before it, less than
  ``at_risk_rate`` per cent are attended. A student without such a mark is not at risk.
- ``absences``: the last ``at_risk_absences`` marks in the rate were missed.
- ``days_away``: the last visit was at least ``at_risk_days_away`` days ago. A student who joined later is not at risk.

The rules are about active students who have not left. They consider all of a student's sessions, of whichever group, of
the current month and the ``MONTHS_BACK`` months before it: one row for each student and month, read by an index.
"""

from dataclasses import replace
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Date,
    Integer,
    and_,
    cast,
    exists,
    func,
    literal_column,
    or_,
    select,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by

from campshub.accounts.models import Organization
from campshub.analytics.queries.rates import DIGITS
from campshub.attendance.models import AttendanceRecord, AttendanceStudentMonthStale, AttendanceStudentOutcome
from campshub.attendance.queries.rollups import OUTCOMES, WEEKS_OF_MONTH
from campshub.core.dates import add_months
from campshub.core.db.prepared import AnySelect, prepared
from campshub.core.db.session import Session
from campshub.core.paging import Page, PageRequest
from campshub.core.rollups.definition import week_of
from campshub.core.security.principal import Principal, visible_to
from campshub.students.models import Enrolment, Student
from campshub.students.queries.groups import require_visible_group
from campshub.students.queries.in_group import enrolled_on

# The longest rules look 90 days back; three months can have 89 days.
MONTHS_BACK = 4
_PER_CENT: ColumnElement[Any] = literal_column("100")
_NOTHING: ColumnElement[Any] = literal_column("''")
_ZERO: ColumnElement[Any] = literal_column("0")
_FALSE: ColumnElement[Any] = literal_column("false")


def list_at_risk(
    session: Session, principal: Principal, *, today: date, page: PageRequest, group_id: UUID | None, rule: str | None
) -> Page:
    """List the students whom the principal sees and who meet a rule, by name, with the reasons.

    :raises NotFound: the principal sees no such group.
    """
    found = page.read(
        session,
        _listed(
            principal, first_month=add_months(today, -MONTHS_BACK), on=today, group_id=group_id, rule=rule, page=page
        ),
    )
    if not found.rows and group_id is not None:
        require_visible_group(session, principal, group_id)
    return replace(found, rows=[described(row) for row in found.rows])


@prepared
def _listed(
    principal: Principal, *, first_month: date, on: date, group_id: Any, rule: Any, page: PageRequest
) -> AnySelect:
    rows, flags = at_risk(principal, first_month=first_month, on=on)
    rows = rows.where(or_(*flags.values()))
    if rule is not None:
        rows = rows.where(or_(*(and_(literal_column(f"'{name}'") == rule, flag) for name, flag in flags.items())))
    if group_id is not None:
        own = and_(Enrolment.organization_id == Student.organization_id, Enrolment.student_id == Student.id)
        rows = rows.where(
            exists(
                select(1)
                .select_from(Enrolment)
                .where(own, Enrolment.group_id == group_id, enrolled_on(on), visible_to(principal, Enrolment))
                .correlate(Student)
            )
        )
    return page.ordered(rows, order=(Student.sort_name, Student.id))


def described(row: Any) -> dict[str, Any]:
    """Return a student with the reasons of the rules that are met, each with what was found and the rule's limit."""
    found = {
        "rate": row.attended * 100 // row.rated if row.rated else None,
        "absences": row.missed_in_a_row,
        "days_away": row.days_away,
    }
    limits = {"rate": row.at_risk_rate, "absences": row.at_risk_absences, "days_away": row.at_risk_days_away}
    reasons = [
        {"rule": name, "value": found[name], "threshold": limit}
        for name, limit in limits.items()
        if getattr(row, f"meets_{name}")
    ]
    return {
        **{name: getattr(row, name) for name in ("student_id", "code", "given_name", "family_name")},
        **{name: getattr(row, name) for name in ("rated", "attended", "missed_in_a_row", "last_attended_on")},
        "rate": round(row.attended / row.rated, DIGITS) if row.rated else None,
        "reasons": reasons,
    }


def every_at_risk(session: Session, principal: Principal, *, now: datetime) -> list[dict[str, Any]]:
    """Return all students who meet a rule, with the reasons."""
    on = principal.today(now)
    rows, flags = at_risk(principal, first_month=add_months(on, -MONTHS_BACK), on=on)
    return [described(row) for row in session.execute(rows.where(or_(*flags.values())))]


def at_risk(principal: Principal, *, first_month: Any, on: Any) -> tuple[AnySelect, dict[str, ColumnElement[bool]]]:
    """Return the select of the visible students with what the rules are about, and the condition of each rule."""
    rules = Organization
    window = week_of(on) - literal_column("7") * rules.at_risk_weeks
    found = _outcomes(principal, first_month=first_month, window=window)
    missed = func.length(found.c.outcomes) - func.length(func.rtrim(found.c.outcomes, literal_column("'m'")))
    values = {
        "rated": func.coalesce(found.c.rated, _ZERO),
        "attended": func.coalesce(found.c.attended, _ZERO),
        "missed_in_a_row": func.coalesce(missed, _ZERO),
    }
    since = func.coalesce(Student.joined_on, cast(Student.created_at, Date))
    away = on - found.c.last_attended_on
    flags = {
        "rate": values["attended"] * _PER_CENT < values["rated"] * rules.at_risk_rate,
        "absences": values["missed_in_a_row"] >= rules.at_risk_absences,
        "days_away": and_(
            func.coalesce(away, on - since) >= rules.at_risk_days_away, on - since >= rules.at_risk_days_away
        ),
    }
    flags = {name: func.coalesce(flag, _FALSE) for name, flag in flags.items()}
    columns = [
        *(Student.id.label("student_id"), Student.code, Student.given_name, Student.family_name),
        *(cast(value, Integer).label(name) for name, value in values.items()),
        *(found.c.last_attended_on, cast(away, Integer).label("days_away")),
        *(rules.at_risk_rate, rules.at_risk_absences, rules.at_risk_days_away),
        *(flag.label(f"meets_{name}") for name, flag in flags.items()),
    ]
    rows = (
        select(*columns)
        .select_from(Student)
        .join(rules, rules.id == Student.organization_id)
        .outerjoin(found, found.c.student_id == Student.id)
        .where(visible_to(principal, Student), rules.id == principal.organization_id)
        .where(Student.deleted_at.is_(None), Student.status == "active")
        .where(or_(Student.left_on.is_(None), Student.left_on >= on))
    )
    return rows, flags


def _outcomes(principal: Principal, *, first_month: Any, window: Any) -> Any:
    """Return each student's outcomes in their order, and the counts of those in the weeks from ``window`` on."""
    own = principal.organization_id
    model, stale, mark = AttendanceStudentOutcome, AttendanceStudentMonthStale, AttendanceRecord
    months = OUTCOMES.current(
        stored=[model.organization_id == own, model.month >= first_month],
        stale=[stale.organization_id == own, stale.month >= first_month],
        raw=[mark.organization_id == own, mark.local_date >= first_month],
    )
    # The first of the month's weeks that counts; arrays begin with 1.
    first_week = func.greatest((window - week_of(months.c.month)) / literal_column("7"), _ZERO) + literal_column("1")
    recent = func.array_to_string(months.c.weeks[first_week : literal_column(str(WEEKS_OF_MONTH))], _NOTHING)
    rated = func.length(recent)
    missed = func.length(func.replace(recent, literal_column("'p'"), _NOTHING))
    every = func.array_to_string(months.c.weeks, _NOTHING)
    return (
        select(
            months.c.student_id,
            func.string_agg(every, aggregate_order_by(_NOTHING, months.c.month)).label("outcomes"),
            func.sum(rated).label("rated"),
            func.sum(rated - missed).label("attended"),
            func.max(months.c.last_attended_on).label("last_attended_on"),
        )
        .select_from(months)
        .join(Organization, Organization.id == own)
        .group_by(months.c.student_id)
        .subquery("outcomes")
    )
