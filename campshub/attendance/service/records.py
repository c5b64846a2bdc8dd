"""Change and remove one mark."""

from datetime import date, datetime
from typing import TypedDict, Unpack
from uuid import UUID

from sqlalchemy import and_, select

from campshub.attendance.models import AttendanceRecord, AttendanceSession, RegisterVersion
from campshub.attendance.queries import codes
from campshub.attendance.queries.registers import Meeting
from campshub.attendance.service import marks
from campshub.core import partitions
from campshub.core.dates import month_start
from campshub.core.db import writes
from campshub.core.db.session import Session
from campshub.core.db.writes import Versions, lock
from campshub.core.errors import Invalid, MonthUnavailable, NotFound, Problem
from campshub.core.partitions.writable import tables_of
from campshub.core.security.principal import Principal, visible_to


class MarkChanges(TypedDict, total=False):
    """Fields of a mark that a change may have."""

    code: str
    note: str | None
    check_in_at: datetime | None
    check_out_at: datetime | None


def change(
    session: Session,
    principal: Principal,
    *,
    record_id: UUID,
    on: date,
    expected: Versions,
    reason: str | None,
    recorded_at: datetime | None = None,
    **changes: Unpack[MarkChanges],
) -> AttendanceRecord:
    """Change one mark; omitted fields stay, and identical values change nothing.

    :raises NotFound: the principal sees no such record on that date.
    :raises PreconditionFailed: it has changed since the caller read it.
    :raises SessionLocked, SessionCancelled, ReasonRequired: the register's state does not allow a change.
    """
    meeting, record = _lock(session, principal, record_id, on, expected)
    values = marks.merged({name: getattr(record, name) for name in marks.INPUT_FIELDS}, changes)
    errors = marks.errors_of(principal, values, local_date=record.local_date)
    changed = {name for name in marks.INPUT_FIELDS if getattr(record, name) != values[name]}
    if errors:
        raise Invalid.of(errors)
    if not changed:
        return record
    marks.require_changeable(principal, meeting, reason)
    session.unit.reason = reason
    if "code" in changed:
        _set_code(session, principal, record, values["code"])
    for name in changed:
        setattr(record, name, values[name])
    record.minutes = marks.minutes_between(record.check_in_at, record.check_out_at)
    if changed != {"note"}:
        record.source, record.device_id = "manual", None
    record.marked_by, record.recorded_at = principal.user_id, recorded_at
    session.flush()
    writes.count(session, RegisterVersion, record.session_id)
    return record


def remove(
    session: Session, principal: Principal, *, record_id: UUID, on: date, expected: Versions, reason: str | None
) -> None:
    """Remove a mark; the audit log still contains it.

    :raises NotFound: the principal sees no such record on that date.
    :raises PreconditionFailed: it has changed since the caller read it.
    :raises SessionLocked, SessionCancelled, ReasonRequired: the register's state does not allow a change.
    """
    meeting, record = _lock(session, principal, record_id, on, expected)
    marks.require_changeable(principal, meeting, reason)
    session.unit.reason = reason
    session.delete(record)
    session.flush()
    writes.count(session, RegisterVersion, record.session_id)


def _lock(
    session: Session, principal: Principal, record_id: UUID, on: date, expected: Versions
) -> tuple[Meeting, AttendanceRecord]:
    """Lock a record's session and then the record, in the order of all writes of marks; return both.

    :raises NotFound: the principal sees no such record on that date.
    :raises MonthUnavailable: the month of that date is not in the database.
    """
    this = and_(AttendanceRecord.id == record_id, AttendanceRecord.local_date == on)
    meeting = session.execute(
        select(AttendanceSession.id, AttendanceSession.version, AttendanceSession.status)
        .join(
            AttendanceRecord,
            and_(
                AttendanceRecord.organization_id == AttendanceSession.organization_id,
                AttendanceRecord.session_id == AttendanceSession.id,
            ),
        )
        .where(visible_to(principal, AttendanceRecord), this)
        .with_for_update(read=True, of=AttendanceSession)
    ).one_or_none()
    if meeting is None:
        raise _absent(session, on)
    return Meeting(*meeting), lock(session, principal, AttendanceRecord, record_id, this, expected=expected)


def _absent(session: Session, on: date) -> Problem:
    """Return the error for a missing record: it does not exist, or its month is not in the database."""
    tag, month = AttendanceRecord.__tag__, month_start(on)
    is_present = partitions.all_present(session, [partitions.name_of(table, month) for table in tables_of(tag)])
    return NotFound() if is_present else MonthUnavailable(missing={(tag, month)})


def _set_code(session: Session, principal: Principal, record: AttendanceRecord, key: str) -> None:
    """Set what a code counts as.

    :raises Invalid: the code is not in use.
    """
    known = {row.key: row for row in session.execute(codes.usable(principal))}
    if key not in known:
        raise Invalid.of([marks.unknown_code("/code", key, list(known))])
    record.counts_as, record.in_rate = known[key].counts_as, known[key].in_rate
