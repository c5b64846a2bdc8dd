"""Rollups of marks by group and day, by session, and by student and month; reads are always exact."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Float,
    SmallInteger,
    and_,
    case,
    cast,
    exists,
    func,
    literal_column,
    or_,
    select,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by, array

from campshub.attendance.models import (
    ATTENDED,
    COUNTS_AS,
    OPEN_GYM,
    AttendanceGroupDay,
    AttendanceGroupDayStale,
    AttendanceRecord,
    AttendanceSession,
    AttendanceSessionCount,
    AttendanceStudentMonth,
    AttendanceStudentMonthStale,
    AttendanceStudentOutcome,
)
from campshub.attendance.queries import ranges
from campshub.attendance.queries import visibility as _rules  # noqa: F401 - registers the visibility rules
from campshub.core.dates import add_months, month_start
from campshub.core.db.prepared import AnySelect, prepared
from campshub.core.db.session import Session
from campshub.core.paging import Page, PageRequest
from campshub.core.rollups.definition import Rollup, month_of, register_rollup, week_of, within_month
from campshub.core.security.principal import Principal, visible_to
from campshub.students.models import Student
from campshub.students.queries.enrolments import require_visible_student

MONTHS_BACK = 11
_PRECISION = 10_000  # of a rate: four digits
_COUNTS = (*COUNTS_AS, "rated", "attended", "minutes")
# The letters of ``AttendanceStudentOutcome.outcomes``; literals, so that the database can presort the aggregates.
ATTENDED_ONE: ColumnElement[Any] = literal_column("'p'")
MISSED_ONE: ColumnElement[Any] = literal_column("'m'")
_NOTHING: ColumnElement[Any] = literal_column("''")
# A month of 31 days that begins on a weekend touches six weeks.
WEEKS_OF_MONTH = 6
_DAYS_OF_WEEK: ColumnElement[Any] = literal_column("7")


def _counts() -> list[Any]:
    mark = AttendanceRecord
    there = mark.counts_as.in_(ATTENDED)
    return [
        *(func.count().filter(mark.counts_as == name).label(name) for name in COUNTS_AS),
        func.count().filter(mark.in_rate).label("rated"),
        func.count().filter(mark.in_rate, there).label("attended"),
        func.coalesce(func.sum(mark.minutes), 0).label("minutes"),
    ]


def _group() -> Any:
    return func.coalesce(AttendanceRecord.group_id, OPEN_GYM).label("group_id")


def _days() -> AnySelect:
    mark = AttendanceRecord
    return _in_order(
        AttendanceGroupDay,
        select(mark.organization_id, mark.local_date, _group(), *_counts()).group_by(
            mark.organization_id, mark.local_date, mark.group_id
        ),
    )


def _months() -> AnySelect:
    mark, month = AttendanceRecord, month_of(AttendanceRecord.local_date)
    return _in_order(
        AttendanceStudentMonth,
        select(mark.organization_id, mark.student_id, month.label("month"), _group(), *_counts()).group_by(
            mark.organization_id, mark.student_id, month, mark.group_id
        ),
    )


def _sessions() -> AnySelect:
    mark = AttendanceRecord
    return _in_order(
        AttendanceSessionCount,
        select(mark.organization_id, mark.local_date, _group(), mark.session_id, *_counts()).group_by(
            mark.organization_id, mark.local_date, mark.group_id, mark.session_id
        ),
    )


def _outcomes() -> AnySelect:
    mark, meeting, month = AttendanceRecord, AttendanceSession, month_of(AttendanceRecord.local_date)
    there = mark.counts_as.in_(ATTENDED)
    order = (mark.local_date, meeting.starts_at.nulls_first(), meeting.slot.nulls_first(), mark.session_id)
    outcomes = func.string_agg(case((there, ATTENDED_ONE), else_=MISSED_ONE), aggregate_order_by(_NOTHING, *order))
    week = (week_of(mark.local_date) - week_of(month)) // _DAYS_OF_WEEK
    ends = [cast(func.count().filter(mark.in_rate, week <= number), SmallInteger) for number in range(WEEKS_OF_MONTH)]
    return _in_order(
        AttendanceStudentOutcome,
        select(
            *(mark.organization_id, mark.student_id, month.label("month")),
            func.coalesce(outcomes.filter(mark.in_rate), _NOTHING).label("outcomes"),
            array(ends).label("week_ends"),
            func.max(mark.local_date).filter(there).label("last_attended_on"),
        )
        .join(meeting, and_(meeting.organization_id == mark.organization_id, meeting.id == mark.session_id))
        .group_by(mark.organization_id, mark.student_id, month),
    )


def _in_order(model: Any, counted: AnySelect) -> AnySelect:
    """Return a select with its columns in the order of the model's."""
    found = {column.key: column for column in counted.selected_columns}
    return counted.with_only_columns(*(found[column.name] for column in model.__table__.columns))


def _of_day(keys: Any) -> ColumnElement[bool]:
    mark = AttendanceRecord
    is_open_gym = and_(mark.group_id.is_(None), keys.group_id == OPEN_GYM)
    return and_(mark.local_date == keys.local_date, or_(mark.group_id == keys.group_id, is_open_gym))


def _of_month(keys: Any) -> ColumnElement[bool]:
    mark = AttendanceRecord
    return and_(mark.student_id == keys.student_id, within_month(mark.local_date, keys.month))


DAYS = register_rollup(
    Rollup(
        model=AttendanceGroupDay,
        stale=AttendanceGroupDayStale,
        key=("local_date", "group_id"),
        date="local_date",
        raw=AttendanceRecord,
        counted=_days,
        matches=_of_day,
    )
)
MONTHS = register_rollup(
    Rollup(
        model=AttendanceStudentMonth,
        stale=AttendanceStudentMonthStale,
        key=("student_id", "month"),
        date="month",
        raw=AttendanceRecord,
        counted=_months,
        matches=_of_month,
    )
)
SESSIONS = register_rollup(
    Rollup(
        model=AttendanceSessionCount,
        stale=AttendanceGroupDayStale,
        key=("local_date", "group_id"),
        date="local_date",
        raw=AttendanceRecord,
        counted=_sessions,
        matches=_of_day,
    )
)
OUTCOMES = register_rollup(
    Rollup(
        model=AttendanceStudentOutcome,
        stale=AttendanceStudentMonthStale,
        key=("student_id", "month"),
        date="month",
        raw=AttendanceRecord,
        counted=_outcomes,
        matches=_of_month,
    )
)


def list_group_days(
    session: Session,
    principal: Principal,
    *,
    now: datetime,
    page: PageRequest,
    group_id: UUID | None = None,
    **dates: Any,
) -> Page:
    """List the counts by group and day, for the groups that the principal sees.

    :raises Invalid: the dates are not a valid range.
    """
    first_date, last_date = ranges.resolved(principal, now, dates)
    return page.read(
        session, _group_days(principal, first_date=first_date, last_date=last_date, group_id=group_id, page=page)
    )


@prepared
def _group_days(
    principal: Principal, *, first_date: date, last_date: date, group_id: Any, page: PageRequest
) -> AnySelect:
    def chosen(model: Any) -> list[ColumnElement[bool]]:
        dates = [model.local_date >= first_date, model.local_date <= last_date]
        return [*dates, *([model.group_id == group_id] if group_id is not None else [])]

    days = DAYS.current(
        stored=[visible_to(principal, AttendanceGroupDay), *chosen(AttendanceGroupDay)],
        stale=[visible_to(principal, AttendanceGroupDayStale), *chosen(AttendanceGroupDayStale)],
        # The stale keys already respect visibility; all marks of such a group count.
        raw=[AttendanceRecord.organization_id == principal.organization_id, *chosen(AttendanceRecord)],
    )
    group = func.nullif(days.c.group_id, OPEN_GYM).label("group_id")
    columns = [days.c.local_date, group, *_output_columns({name: days.c[name] for name in _COUNTS})]
    return page.ordered(select(*page.choose(columns)), order=(days.c.local_date, days.c.group_id))


def list_student_months(
    session: Session, principal: Principal, *, student_id: UUID, now: datetime, page: PageRequest, **dates: Any
) -> Page:
    """List a student's counts by month; the last twelve months by default.

    :raises NotFound: the principal sees no such student.
    :raises Invalid: the dates are not a valid range.
    """
    if dates.get("first_date") is None and dates.get("last_date") is None:
        dates = {"first_date": add_months(principal.today(now), -MONTHS_BACK), "last_date": principal.today(now)}
    first_date, last_date = ranges.resolved(principal, now, dates)
    query = _student_months(
        principal, student_id=student_id, first_date=month_start(first_date), until=add_months(last_date, 1), page=page
    )
    found = page.read(session, query)
    if not found.rows:
        require_visible_student(session, principal, student_id)
    return found


@prepared
def _student_months(
    principal: Principal, *, student_id: UUID, first_date: date, until: date, page: PageRequest
) -> AnySelect:
    def chosen(model: Any) -> list[ColumnElement[bool]]:
        return [model.student_id == student_id, model.month >= first_date, model.month < until]

    mark = AttendanceRecord
    months = MONTHS.current(
        stored=[visible_to(principal, AttendanceStudentMonth), *chosen(AttendanceStudentMonth)],
        stale=[visible_to(principal, AttendanceStudentMonthStale), *chosen(AttendanceStudentMonthStale)],
        raw=[
            visible_to(principal, mark),
            mark.student_id == student_id,
            mark.local_date >= first_date,
            mark.local_date < until,
        ],
    )
    columns = [months.c.month, *_output_columns({name: func.sum(months.c[name]) for name in _COUNTS})]
    student: Any = Student
    is_seen = exists(
        select(1)
        .select_from(student)
        .where(visible_to(principal, student), student.id == student_id, student.deleted_at.is_(None))
    )
    rows = select(*page.choose(columns)).where(is_seen).group_by(months.c.month)
    return page.ordered(rows, order=(months.c.month,))


def _output_columns(counts: dict[str, Any]) -> list[ColumnElement[Any]]:
    """Return the output columns of counts: each count, the number of marks, and the rate."""
    marked = sum((counts[name] for name in COUNTS_AS[1:]), counts[COUNTS_AS[0]])
    share = func.round(cast(counts["attended"], Float) * _PRECISION / counts["rated"], type_=Float) / _PRECISION
    return [
        *(cast(counts[name], BigInteger).label(name) for name in (*COUNTS_AS, "minutes")),
        cast(marked, BigInteger).label("marked"),
        case((counts["rated"] > 0, share)).label("rate"),
    ]
