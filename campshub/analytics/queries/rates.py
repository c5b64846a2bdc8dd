"""Rates of attendance by period.

``taken``: of the marks that count in the rate, the share that counts as attended. ``scheduled``: the same share of all
marks that were scheduled, without those outside the rate; a mark that is not taken lowers it.
"""

from collections.abc import Iterable
from datetime import date, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Text, and_, cast, literal_column, select

from campshub.accounts.models import Organization
from campshub.analytics.queries import marks, scheduled
from campshub.analytics.queries.periods import Period, PeriodUnit, periods, resolved
from campshub.core.db.prepared import AnySelect, prepared
from campshub.core.db.session import Session
from campshub.core.errors import NotFound
from campshub.core.security.principal import Principal, visible_to
from campshub.students.models import Group, Student
from campshub.students.names import full_name

DIGITS = 4
_COUNTS = ("scheduled", "not_taken", "marked", "rated", "attended")


class Basis(StrEnum):
    """What a rate is a share of."""

    TAKEN = "taken"
    SCHEDULED = "scheduled"


def list_rates(
    session: Session,
    principal: Principal,
    *,
    by: str,
    basis: str,
    now: datetime,
    group_id: UUID | None = None,
    student_id: UUID | None = None,
    **dates: Any,
) -> dict[str, Any]:
    """Return the rate of each period, and its change against the period before.

    :raises NotFound: the principal sees no such group or student.
    :raises Invalid: the dates are not a valid range.
    """
    unit, share = PeriodUnit(by), Basis(basis)
    before, *wanted = periods(unit, *resolved(unit, principal.today(now), dates))
    last_date = wanted[-1].last_date
    if share is Basis.SCHEDULED:  # later sessions cannot have been taken yet
        last_date = min(last_date, principal.today(now))
    of: dict[str, Any] = {"group_id": group_id, "student_id": student_id}
    query = _days(principal, basis=share, first_date=before.first_date, last_date=last_date, **of)
    found = session.execute(query).all()
    if not found:
        require_visible(session, principal, **of)
    counts = [_added_up(found, period, share) for period in (before, *wanted)]
    rates = [rate_of(one, share) for one in counts]
    items = [
        {**_dates(period), **one, "rate": rate, "change": _change(previous, rate)}
        for period, one, rate, previous in zip(wanted, counts[1:], rates[1:], rates, strict=False)
    ]
    total = _added_up(found, Period(wanted[0].first_date, wanted[-1].last_date), share)
    return {"by": by, "basis": basis, **total, "rate": rate_of(total, share), "items": items}


def require_visible(session: Session, principal: Principal, *, group_id: UUID | None, student_id: UUID | None) -> None:
    """Check, where nothing was found, that the principal sees what was asked for.

    :raises NotFound: the principal sees no such group or student.
    """
    if group_id is not None or student_id is not None:
        get_subject(session, principal, group_id=group_id, student_id=student_id)


def rate_of(counts: dict[str, int | None], basis: Basis) -> float | None:
    """Return a rate; None if there is nothing that it could be a share of."""
    rated, attended = counts["rated"] or 0, counts["attended"] or 0
    whole = rated if basis is Basis.TAKEN else rated + (counts["not_taken"] or 0)
    return round(attended / whole, DIGITS) if whole else None


def get_subject(session: Session, principal: Principal, *, group_id: UUID | None, student_id: UUID | None) -> str:
    """Return the name of what figures are about: a student, a group or the organization.

    :raises NotFound: the principal sees no such group or student.
    """
    if student_id is None and group_id is None:
        name: str = session.execute(_organization(principal)).one().name
        return name
    found = session.execute(_subject(principal, group_id=group_id, student_id=student_id)).one_or_none()
    if found is None:
        raise NotFound
    student = full_name(found.given_name, found.family_name) if student_id is not None else ""
    return ", ".join(part for part in (student, found.group_name) if part)


@prepared
def _organization(principal: Principal) -> AnySelect:
    return select(Organization.name).where(Organization.id == principal.organization_id)


@prepared
def _subject(principal: Principal, *, group_id: Any, student_id: Any) -> AnySelect:
    """Return the names of a visible student, of a visible group, or of both."""
    student: Any = Student
    of_group = and_(visible_to(principal, Group), Group.deleted_at.is_(None))
    of_student = and_(visible_to(principal, student), student.deleted_at.is_(None))
    no_name = cast(literal_column("NULL"), Text)
    if student_id is None:
        return select(Group.name.label("group_name")).where(of_group, Group.id == group_id)
    names = [student.given_name, student.family_name]
    if group_id is None:
        return select(*names, no_name.label("group_name")).where(of_student, student.id == student_id)
    both = and_(Group.organization_id == student.organization_id, Group.id == group_id)
    return (
        select(*names, Group.name.label("group_name"))
        .join(Group, both)
        .where(of_student, of_group, student.id == student_id)
    )


@prepared
def _days(
    principal: Principal, *, basis: Basis, first_date: date, last_date: date, group_id: Any, student_id: Any
) -> AnySelect:
    chosen = {"first_date": first_date, "last_date": last_date, "group_id": group_id, "student_id": student_id}
    if basis is Basis.SCHEDULED:
        days = scheduled.by_day(principal, **chosen)
        columns = [days.c[name] for name in _COUNTS]
    else:
        days = marks.by_day(principal, **chosen)
        nothing = cast(literal_column("NULL"), BigInteger)
        columns = [nothing.label(name) for name in _COUNTS[:2]]
        columns += [cast(days.c[name], BigInteger).label(name) for name in _COUNTS[2:]]
    return select(days.c.local_date, *columns).order_by(days.c.local_date)


def _added_up(days: Iterable[Any], period: Period, basis: Basis) -> dict[str, int | None]:
    """Add up the counts of a period; None for those that the basis does not need."""
    own = [row for row in days if period.first_date <= row.local_date <= period.last_date]
    counted = _COUNTS if basis is Basis.SCHEDULED else _COUNTS[2:]
    return {name: sum(getattr(row, name) for row in own) if name in counted else None for name in _COUNTS}


def _change(previous: float | None, rate: float | None) -> float | None:
    return round(rate - previous, DIGITS) if rate is not None and previous is not None else None


def _dates(period: Period) -> dict[str, date]:
    return {"first_date": period.first_date, "last_date": period.last_date}
