"""Reads of open gym visits: those of students, and how many people are there."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import DateTime, and_, column, func, or_, select
from sqlalchemy.dialects.postgresql import distinct_on

from campshub.accounts.models import Organization
from campshub.check_ins.models import CheckInEvent, Visit
from campshub.check_ins.queries.people import among
from campshub.core.db.models import AnyRow
from campshub.core.db.prepared import AnySelect, prepared
from campshub.core.db.session import Session
from campshub.core.errors import Invalid
from campshub.core.security.principal import Principal

MOST_DAYS = 31


def events_between(
    session: Session, principal: Principal, student_ids: Sequence[UUID], first: datetime, last: datetime
) -> Sequence[AnyRow]:
    """Return the open gym events of students in a period."""
    rows: Sequence[AnyRow] = session.execute(
        select(CheckInEvent.id, CheckInEvent.student_id, CheckInEvent.kind, CheckInEvent.at).where(
            CheckInEvent.organization_id == principal.organization_id,
            among(CheckInEvent.student_id, student_ids),
            CheckInEvent.at.between(first, last),
            CheckInEvent.session_id.is_(None),
        )
    ).all()
    return rows


def visits_between(
    session: Session, principal: Principal, student_ids: Sequence[UUID], first: datetime, last: datetime
) -> Sequence[Visit]:
    """Return the visits of students that begin in a period, locked."""
    visits: Sequence[Visit] = session.scalars(
        select(Visit)
        .where(
            Visit.organization_id == principal.organization_id,
            among(Visit.student_id, student_ids),
            Visit.checked_in_at.between(first, last),
        )
        .order_by(Visit.id)
        .with_for_update()
    ).all()
    return visits


def latest_visits(session: Session, principal: Principal, student_ids: Sequence[UUID]) -> dict[UUID, AnyRow]:
    """Return the last visit of each student."""
    columns = (Visit.id, Visit.student_id, Visit.checked_in_at, Visit.checked_out_at, Visit.is_automatic)
    rows = session.execute(
        select(*columns)
        .ext(distinct_on(Visit.student_id))
        .where(Visit.organization_id == principal.organization_id, among(Visit.student_id, student_ids))
        .order_by(Visit.student_id, Visit.checked_in_at.desc())
    )
    return {row.student_id: row for row in rows}


def open_visits(session: Session, *, most: int) -> Sequence[Any]:
    """Return the oldest open visits with the rules of their organizations, but none that is locked."""
    rows: Sequence[Any] = session.execute(
        select(Visit, Organization.time_zone, Organization.open_gym_hours, Organization.open_gym_closes_at)
        .join(Organization, Organization.id == Visit.organization_id)
        .where(Visit.checked_out_at.is_(None), Organization.status == "active")
        .order_by(Visit.checked_in_at)
        .limit(most)
        .with_for_update(of=Visit, skip_locked=True)
    ).all()
    return rows


def occupancy(session: Session, principal: Principal) -> AnyRow:
    """Return how many people are in open gym."""
    return session.execute(_present(principal)).one()


@prepared
def _present(principal: Principal) -> AnySelect:
    return select(func.count().label("present")).where(
        Visit.organization_id == principal.organization_id, Visit.checked_out_at.is_(None)
    )


def occupancy_by_hour(
    session: Session, principal: Principal, *, today: date, first_date: date | None, last_date: date | None
) -> dict[str, list[dict[str, Any]]]:
    """Return how many people were in open gym in each hour of a range of dates; the last seven days by default.

    :raises Invalid: the dates are not a valid range.
    """
    last_date = last_date or today
    first_date = first_date or last_date - timedelta(days=6)
    if not first_date <= last_date < first_date + timedelta(days=MOST_DAYS):
        raise Invalid.at("/to", "bad_range", f"Must be from `from` to at most {MOST_DAYS} days in all.")
    zone = ZoneInfo(principal.time_zone)
    since, until = (
        datetime.combine(day, time(), zone).astimezone(UTC) for day in (first_date, last_date + timedelta(days=1))
    )
    rows = session.execute(_hours(principal, since=since, until=until, before=since - timedelta(days=1)))
    items = []
    for row in rows:
        begins_at = row.begins_at.astimezone(zone)
        items.append(
            {"begins_at": row.begins_at, "local_date": begins_at.date(), "hour": begins_at.hour, "people": row.people}
        )
    return {"items": items}


@prepared
def _hours(principal: Principal, *, since: datetime, until: datetime, before: datetime) -> AnySelect:
    hour = timedelta(hours=1)
    hours = func.generate_series(since, until - hour, hour).table_valued(column("begins_at", DateTime(timezone=True)))
    hours = hours.render_derived(name="hours")
    during = and_(
        Visit.organization_id == principal.organization_id,
        Visit.checked_in_at >= before,  # a visit lasts a day at most
        Visit.checked_in_at < hours.c.begins_at + hour,
        or_(Visit.checked_out_at.is_(None), Visit.checked_out_at > hours.c.begins_at),
    )
    people = func.count(Visit.student_id.distinct()).label("people")
    return (
        select(hours.c.begins_at, people)
        .select_from(hours)
        .outerjoin(Visit, during)
        .group_by(hours.c.begins_at)
        .order_by(hours.c.begins_at)
    )
