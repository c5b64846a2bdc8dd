"""Reads of records; each names its dates, so that the other months are left alone."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, and_, func, select

from campshub.attendance.models import ATTENDED, COUNTS_AS, AttendanceRecord
from campshub.attendance.queries import ranges
from campshub.attendance.queries import visibility as _rules  # noqa: F401 - who sees what is registered there
from campshub.core.db.models import AnyRow
from campshub.core.db.prepared import AnySelect, prepared
from campshub.core.db.session import Session
from campshub.core.errors import NotFound
from campshub.core.paging import Page, PageRequest
from campshub.core.security.principal import Principal, visible_to
from campshub.students.models import Student
from campshub.students.queries import visibility as _students  # noqa: F401 - the students' rules

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
    AttendanceRecord.created_at,
    AttendanceRecord.updated_at,
    AttendanceRecord.version,
)
MOST_SHOWN = 500
_FILTERS = ("student_id", "group_id", "session_id", "code")


def list_records(session: Session, principal: Principal, *, now: datetime, page: PageRequest, **filters: Any) -> Page:
    """List the records that the principal may see from one date to another, by date.

    :raises Invalid: the dates are no range.
    """
    first, last = ranges.asked(principal, now, filters)
    given = {name: filters.get(name) for name in _FILTERS}
    return page.read(session, _listed(principal, first=first, last=last, page=page, **given))


@prepared
def _listed(principal: Principal, *, first: date, last: date, page: PageRequest, **given: Any) -> AnySelect:
    rows = select(*page.choose(COLUMNS)).where(
        visible_to(principal, AttendanceRecord),
        _between((first, last)),
        *(getattr(AttendanceRecord, name) == value for name, value in given.items() if value is not None),
    )
    return page.ordered(rows, order=(AttendanceRecord.local_date, AttendanceRecord.id))


def get_record(session: Session, principal: Principal, record_id: UUID, *, on: date) -> AnyRow:
    """Return one record; its date tells the month in which it is kept.

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
    """Return a student's records from one date to another, the newest first, and what they add up to.

    The rate is the share of those who were there, also late or for a part, among the marks that enter the rate.

    :raises NotFound: the principal sees no such student.
    :raises Invalid: the dates are no range.
    """
    dates = ranges.asked(principal, now, filters)
    added_up = _added_up(session, principal, student_id, dates)
    items = session.execute(_latest(principal, student_id=student_id, first=dates[0], last=dates[1])).all()
    return {
        "student_id": student_id,
        "first": dates[0],
        "last": dates[1],
        "counts": {name: getattr(added_up, name) for name in COUNTS_AS},
        "total": added_up.total,
        "rate": round(added_up.attended / added_up.rated, 4) if added_up.rated else None,
        "items": items,
        "has_more": added_up.total > len(items),
    }


@prepared
def _latest(principal: Principal, *, student_id: UUID, first: date, last: date) -> AnySelect:
    seen = visible_to(principal, AttendanceRecord)
    return (
        select(*COLUMNS)
        .where(seen, AttendanceRecord.student_id == student_id, _between((first, last)))
        .order_by(AttendanceRecord.local_date.desc(), AttendanceRecord.id.desc())
        .limit(MOST_SHOWN)
    )


def _added_up(session: Session, principal: Principal, student_id: UUID, dates: tuple[date, date]) -> AnyRow:
    """Count a student's marks.

    :raises NotFound: the principal sees no such student.
    """
    asked = _sums(principal, student_id=student_id, first=dates[0], last=dates[1])
    added_up = session.execute(asked).one_or_none()
    if added_up is None:
        raise NotFound
    return added_up


@prepared
def _sums(principal: Principal, *, student_id: UUID, first: date, last: date) -> AnySelect:
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
                _between((first, last)),
                visible_to(principal, mark),
            ),
        )
        .where(visible_to(principal, Student), Student.id == student_id, Student.deleted_at.is_(None))
        .group_by(Student.id)
    )


def _between(dates: tuple[date, date]) -> ColumnElement[bool]:
    return and_(AttendanceRecord.local_date >= dates[0], AttendanceRecord.local_date <= dates[1])
