"""Patterns of attendance: runs of a student's sessions, weekdays and hours, punctuality."""

from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, ColumnElement, Float, Integer, and_, case, cast, func, literal_column, select
from sqlalchemy.dialects.postgresql import aggregate_order_by

from campshub.analytics.queries import marks
from campshub.analytics.queries.rates import DIGITS, Basis, rate_of, require_visible
from campshub.attendance.models import ATTENDED, AttendanceRecord, AttendanceSession
from campshub.attendance.queries import ranges
from campshub.attendance.queries.rollups import ATTENDED_ONE, MISSED_ONE
from campshub.core.db.prepared import AnySelect, prepared
from campshub.core.db.session import Session
from campshub.core.security.principal import Principal, visible_to

_THERE = AttendanceRecord.counts_as.in_(ATTENDED)
_MINUTE_S: ColumnElement[Any] = literal_column("60")


def get_streaks(
    session: Session, principal: Principal, *, student_id: UUID, now: datetime, **dates: Any
) -> dict[str, Any]:
    """Return a student's runs of attended and of missed sessions, of the last 400 days by default.

    Marks outside the rate neither continue nor end a run.

    :raises NotFound: the principal sees no such student.
    :raises Invalid: the dates are not a valid range.
    """
    last_date = dates.get("last_date") or max(principal.today(now), dates.get("first_date") or date.min)
    first_date = dates.get("first_date") or last_date - timedelta(days=ranges.MOST_DAYS)
    ranges.checked(first_date, last_date)
    query = _outcomes(principal, student_id=student_id, first_date=first_date, last_date=last_date)
    found = session.execute(query).one()
    if found.outcomes is None:
        require_visible(session, principal, group_id=None, student_id=student_id)
    outcomes = found.outcomes or ""
    return {
        "student_id": student_id,
        "first_date": first_date,
        "last_date": last_date,
        "sessions": len(outcomes),
        "current_streak": len(outcomes) - len(outcomes.rstrip("p")),
        "longest_streak": max(map(len, outcomes.split("m"))),
        "missed_in_a_row": len(outcomes) - len(outcomes.rstrip("m")),
        "last_attended_on": found.last_attended_on,
    }


@prepared
def _outcomes(principal: Principal, *, student_id: UUID, first_date: date, last_date: date) -> AnySelect:
    mark, meeting = AttendanceRecord, AttendanceSession
    order = (mark.local_date, meeting.starts_at.nulls_first(), meeting.slot.nulls_first(), mark.session_id)
    one = case((_THERE, ATTENDED_ONE), else_=MISSED_ONE)
    chosen = marks.chosen_marks(
        principal, first_date=first_date, last_date=last_date, group_id=None, student_id=student_id
    )
    return (
        select(
            func.string_agg(one, aggregate_order_by(literal_column("''"), *order))
            .filter(mark.in_rate)
            .label("outcomes"),
            func.max(mark.local_date).filter(_THERE).label("last_attended_on"),
        )
        .join(meeting, and_(meeting.organization_id == mark.organization_id, meeting.id == mark.session_id))
        .where(*chosen)
    )


def get_heat_map(
    session: Session,
    principal: Principal,
    *,
    now: datetime,
    group_id: UUID | None = None,
    student_id: UUID | None = None,
    **dates: Any,
) -> dict[str, Any]:
    """Return the rate by weekday and hour of the sessions' start, in the organization's time zone.

    :raises NotFound: the principal sees no such group or student.
    :raises Invalid: the dates are not a valid range.
    """
    first_date, last_date = ranges.resolved(principal, now, dates)
    query = _cells(
        principal,
        first_date=first_date,
        last_date=last_date,
        group_id=group_id,
        student_id=student_id,
        time_zone=principal.time_zone,
    )
    found = session.execute(query).all()
    if not found:
        require_visible(session, principal, group_id=group_id, student_id=student_id)
    cells = [dict(row._mapping) for row in found]  # noqa: SLF001 - SQLAlchemy's public name for it
    cells = [{**cell, "rate": rate_of(cell, Basis.TAKEN)} for cell in cells]
    return {"first_date": first_date, "last_date": last_date, "cells": cells}


@prepared
def _cells(
    principal: Principal, *, first_date: date, last_date: date, group_id: Any, student_id: Any, time_zone: str
) -> AnySelect:
    counts = marks.by_session(
        principal, first_date=first_date, last_date=last_date, group_id=group_id, student_id=student_id
    )
    meeting = AttendanceSession
    local = func.timezone(time_zone, meeting.starts_at)
    starts = (
        select(
            cast(func.date_part(literal_column("'isodow'"), local), Integer).label("weekday"),
            cast(func.date_part(literal_column("'hour'"), local), Integer).label("hour"),
            *(counts.c.marked, counts.c.rated, counts.c.attended),
        )
        .join(meeting, meeting.id == counts.c.session_id)
        .where(visible_to(principal, meeting), meeting.starts_at.is_not(None))
        .where(meeting.local_date >= first_date, meeting.local_date <= last_date)
        .subquery("starts")
    )
    sums = [cast(func.sum(starts.c[name]), BigInteger).label(name) for name in ("marked", "rated", "attended")]
    return (
        select(starts.c.weekday, starts.c.hour, func.count().label("sessions"), *sums)
        .group_by(starts.c.weekday, starts.c.hour)
        .order_by(starts.c.weekday, starts.c.hour)
    )


def get_punctuality(
    session: Session,
    principal: Principal,
    *,
    now: datetime,
    group_id: UUID | None = None,
    student_id: UUID | None = None,
    **dates: Any,
) -> dict[str, Any]:
    """Return the share of late marks among those of students who were there, and how late they were.

    :raises NotFound: the principal sees no such group or student.
    :raises Invalid: the dates are not a valid range.
    """
    first_date, last_date = ranges.resolved(principal, now, dates)
    chosen = {"first_date": first_date, "last_date": last_date, "group_id": group_id, "student_id": student_id}
    counts = session.execute(_late(principal, **chosen)).one()
    if not counts.there:
        require_visible(session, principal, group_id=group_id, student_id=student_id)
    return {
        "first_date": first_date,
        "last_date": last_date,
        "there": counts.there,
        "late": counts.late,
        "late_share": round(counts.late / counts.there, DIGITS) if counts.there else None,
        "timed": counts.timed,
        "mean_minutes_late": counts.mean_minutes,
        "most_minutes_late": counts.most_minutes,
    }


@prepared
def _late(principal: Principal, *, first_date: date, last_date: date, group_id: Any, student_id: Any) -> AnySelect:
    chosen = {"first_date": first_date, "last_date": last_date, "group_id": group_id, "student_id": student_id}
    days = marks.by_day(principal, **chosen)
    sums = [func.coalesce(func.sum(days.c[name]), literal_column("0")) for name in ("there", "late")]
    counts = select(*(cast(one, BigInteger).label(name) for one, name in zip(sums, ("there", "late"), strict=True)))
    mark, meeting = AttendanceRecord, AttendanceSession
    seconds = func.date_part(literal_column("'epoch'"), mark.check_in_at - meeting.starts_at, type_=Float())
    minutes = func.greatest(seconds / _MINUTE_S, literal_column("0"), type_=Float())
    timed = (
        select(
            func.count().label("timed"),
            func.round(func.avg(minutes), type_=Float()).label("mean_minutes"),
            cast(func.round(func.max(minutes)), Integer).label("most_minutes"),
        )
        .select_from(mark)
        .join(meeting, and_(meeting.organization_id == mark.organization_id, meeting.id == mark.session_id))
        .where(*marks.chosen_marks(principal, **chosen), mark.counts_as == "late")
        .where(mark.check_in_at.is_not(None), meeting.starts_at.is_not(None))
    ).subquery("timed")
    every = counts.subquery("counts")
    return select(*every.c, *timed.c).select_from(every).join(timed, literal_column("TRUE"))
