"""Reads of records; each has a date range, so that only its months are read."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, and_, func, select

from campshub.attendance.models import ATTENDED, COUNTS_AS, AttendanceRecord
from campshub.attendance.queries import ranges
from campshub.attendance.queries import visibility as _rules  # noqa: F401 - registers the visibility rules
from campshub.core.db.models import AnyRow
from campshub.core.db.prepared import AnySelect, prepared
from campshub.core.db.session import Session
from campshub.core.errors import NotFound
from campshub.core.paging import Page, PageRequest
from campshub.core.security.permissions import Permission
from campshub.core.security.principal import Principal, visible_to
from campshub.students.models import Student
from campshub.students.queries import visibility as _students  # noqa: F401 - the students' rules
from campshub.students.queries.included import includable

COLUMNS = (
    AttendanceRecord.id,
    AttendanceRecord.session_id,
    AttendanceRecord.student_id,
    AttendanceRecord.group_id,
    AttendanceRecord.local_date,
    AttendanceRecord.code,
    AttendanceRecord.counts_as,
    AttendanceRecord.in_rate,
    AttendanceRecord.check_in_at,
    AttendanceRecord.check_out_at,
    AttendanceRecord.minutes,
    AttendanceRecord.source,
    AttendanceRecord.device_id,
    AttendanceRecord.note,
    AttendanceRecord.marked_by,
    AttendanceRecord.recorded_at,
    AttendanceRecord.created_at,
    AttendanceRecord.updated_at,
    AttendanceRecord.version,
)
MOST_SHOWN = 500
LAST_SEEN_DAYS = 400
_FILTERS = ("student_id", "group_id", "session_id", "code")


@includable("last_seen_on", permission=Permission.ATTENDANCE_READ, tags=("attendance", "enrolments", "groups"))
def _last_seen_on(principal: Principal, today: Any) -> ColumnElement[date]:
    """Return a student's last day with a mark that counts as attended; the months are read from the newest one."""
    mark = AttendanceRecord
    found: ColumnElement[date] = (
        select(mark.local_date)
        .where(visible_to(principal, mark), mark.student_id == Student.id, mark.counts_as.in_(ATTENDED))
        .where(mark.local_date <= today, mark.local_date >= today - LAST_SEEN_DAYS)
        .order_by(mark.local_date.desc())
        .limit(1)
        .correlate(Student)
        .scalar_subquery()
    )
    return found


def list_records(session: Session, principal: Principal, *, now: datetime, page: PageRequest, **filters: Any) -> Page:
    """List the records that the principal sees in a range of dates, by date.

    :raises Invalid: the dates are not a valid range.
    """
    first_date, last_date = ranges.resolved(principal, now, filters)
    given = {name: filters.get(name) for name in (*_FILTERS, "updated_from")}
    return page.read(session, _listed(principal, first_date=first_date, last_date=last_date, page=page, **given))


@prepared
def _listed(
    principal: Principal, *, first_date: date, last_date: date, updated_from: Any, page: PageRequest, **given: Any
) -> AnySelect:
    rows = select(*page.choose(COLUMNS)).where(
        visible_to(principal, AttendanceRecord),
        _between((first_date, last_date)),
        *(getattr(AttendanceRecord, name) == value for name, value in given.items() if value is not None),
    )
    if updated_from is not None:
        rows = rows.where(AttendanceRecord.updated_at >= updated_from)
    return page.ordered(rows, order=(AttendanceRecord.local_date, AttendanceRecord.id))


def get_record(session: Session, principal: Principal, record_id: UUID, *, on: date) -> AnyRow:
    """Return one record; its date selects the month table.

    :raises NotFound: the principal sees no such record on that date.
    """
    row = session.execute(_one(principal, record_id=record_id, on=on)).one_or_none()
    if row is None:
        raise NotFound
    return row


@prepared
def _one(principal: Principal, *, record_id: UUID, on: date) -> AnySelect:
    return select(*COLUMNS).where(
        visible_to(principal, AttendanceRecord),
        AttendanceRecord.local_date == on,
        AttendanceRecord.id == record_id,
    )


def of_student(
    session: Session, principal: Principal, student_id: UUID, *, now: datetime, **filters: Any
) -> dict[str, Any]:
    """Return a student's records in a range of dates, newest first, with their counts.

    The rate is the share of attended marks, including late and left early, among the marks that count in the rate.

    :raises NotFound: the principal sees no such student.
    :raises Invalid: the dates are not a valid range.
    """
    dates = ranges.resolved(principal, now, filters)
    counts = _count(session, principal, student_id, dates)
    items = session.execute(_latest(principal, student_id=student_id, first_date=dates[0], last_date=dates[1])).all()
    return {
        "student_id": student_id,
        "first_date": dates[0],
        "last_date": dates[1],
        "counts": {name: getattr(counts, name) for name in COUNTS_AS},
        "total": counts.total,
        "rate": round(counts.attended / counts.rated, 4) if counts.rated else None,
        "items": items,
        "has_more": counts.total > len(items),
    }


@prepared
def _latest(principal: Principal, *, student_id: UUID, first_date: date, last_date: date) -> AnySelect:
    seen = visible_to(principal, AttendanceRecord)
    return (
        select(*COLUMNS)
        .where(seen, AttendanceRecord.student_id == student_id, _between((first_date, last_date)))
        .order_by(AttendanceRecord.local_date.desc(), AttendanceRecord.id.desc())
        .limit(MOST_SHOWN)
    )


def _count(session: Session, principal: Principal, student_id: UUID, dates: tuple[date, date]) -> AnyRow:
    """Count a student's marks.

    :raises NotFound: the principal sees no such student.
    """
    query = _sums(principal, student_id=student_id, first_date=dates[0], last_date=dates[1])
    counts = session.execute(query).one_or_none()
    if counts is None:
        raise NotFound
    return counts


@prepared
def _sums(principal: Principal, *, student_id: UUID, first_date: date, last_date: date) -> AnySelect:
    mark = AttendanceRecord
    counts = {name: func.count().filter(mark.counts_as == name).label(name) for name in COUNTS_AS}
    return (
        select(
            *counts.values(),
            func.count(mark.id).label("total"),
            func.count().filter(mark.in_rate).label("rated"),
            func.count().filter(mark.in_rate, mark.counts_as.in_(ATTENDED)).label("attended"),
        )
        .select_from(Student)
        .outerjoin(
            mark,
            and_(
                mark.organization_id == Student.organization_id,
                mark.student_id == Student.id,
                _between((first_date, last_date)),
                visible_to(principal, mark),
            ),
        )
        .where(visible_to(principal, Student), Student.id == student_id, Student.deleted_at.is_(None))
        .group_by(Student.id)
    )


def _between(dates: tuple[date, date]) -> ColumnElement[bool]:
    return and_(AttendanceRecord.local_date >= dates[0], AttendanceRecord.local_date <= dates[1])
