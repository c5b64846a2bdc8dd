"""Excuse absences with marks of their own, and take exactly these marks back.

A mark that another person made is never overwritten, except one that counts as absent. All sessions are locked first,
in the order of their ids, so that no other call changes their marks meanwhile.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any, NamedTuple, cast
from uuid import UUID

from sqlalchemy import ColumnElement, select

from campshub.attendance.models import AttendanceCode, AttendanceRecord, AttendanceSession, RegisterVersion
from campshub.attendance.queries import codes
from campshub.core.db import writes
from campshub.core.db.models import AnyRow
from campshub.core.db.session import Session
from campshub.core.errors import Conflict
from campshub.core.security.permissions import Role
from campshub.core.security.principal import Principal

SOURCE = "leave"
MOST_AT_ONCE = 5_000
_KEY = ("local_date", "session_id", "student_id")
# What an excuse changes in a mark; note and times stay.
CHANGED = ("code", "counts_as", "in_rate", "source", "device_id", "marked_by", "recorded_at")
_AS_SEEN = "attendance_records.version = excluded.version - 1"


class NoExcusedCode(Conflict):
    """The organization has no attendance code that counts as excused; create one first."""

    code = "no_excused_code"
    default_detail = "The organization has no attendance code that counts as excused; create one first."


class Absence(NamedTuple):
    """A student in a locked session."""

    session_id: UUID
    group_id: UUID | None
    local_date: date
    status: str
    student_id: UUID

    @classmethod
    def of(cls, meeting: Any, student_id: UUID) -> "Absence":
        """Return a student's absence in a locked session."""
        return cls(meeting.id, meeting.group_id, meeting.local_date, meeting.status, student_id)


@dataclass(frozen=True)
class ExcusedMark:
    """A mark that an excuse has made or changed, its version since, and what it was before (None: no mark)."""

    absence: Absence
    record_id: UUID
    version: int
    previous: Mapping[str, Any] | None


@dataclass(frozen=True)
class LeftMark:
    """A mark that stays as it is, and why: the register is ``locked``, or another person has ``marked``."""

    session_id: UUID
    local_date: date
    why: str


def lock_sessions(session: Session, *conditions: ColumnElement[bool]) -> Sequence[AnyRow]:
    """Lock the sessions of some conditions, in the order of their ids, and return them."""
    one = AttendanceSession
    return session.execute(
        select(one.id, one.group_id, one.local_date, one.status)
        .where(*conditions)
        .order_by(one.id)
        .limit(MOST_AT_ONCE)
        .with_for_update(key_share=True)
    ).all()


def excuse(session: Session, absences: Sequence[Absence], *, reason: str) -> tuple[list[ExcusedMark], list[LeftMark]]:
    """Excuse students in sessions where they have no mark or one that counts as absent.

    A mark that counts as excused already is neither excused again nor reported. The reason makes it possible in
    submitted registers; locked ones stay as they are.

    :raises NoExcusedCode: no code counts as excused.
    """
    present = {(row.session_id, row.student_id): row for row in _marks(session, absences)}
    pending, left = [], []
    for absence in absences:
        mark = present.get((absence.session_id, absence.student_id))
        if mark is not None and mark.counts_as == "excused":
            continue
        if absence.status == "locked" or (mark is not None and mark.counts_as != "absent"):
            why = "locked" if absence.status == "locked" else "marked"
            left.append(LeftMark(absence.session_id, absence.local_date, why))
        else:
            pending.append((absence, mark))
    if not pending:
        return [], left
    code = _excused_code(session)
    values = {**code, "source": SOURCE, "device_id": None, "marked_by": session.unit.user_id, "recorded_at": None}
    rows = [_row(absence, values, mark.version if mark else 0) for absence, mark in pending]
    written = _write(session, rows, reason)
    return [
        ExcusedMark(absence, *written[absence.session_id, absence.student_id], _previous(mark))
        for absence, mark in pending
    ], left


def take_back(session: Session, marks: Sequence[ExcusedMark], *, reason: str) -> list[UUID]:
    """Remove or restore marks of locked sessions that no one has changed since they were excused.

    Return the ids of the records that were taken back.
    """
    if not marks:
        return []
    one, absences = AttendanceRecord, [mark.absence for mark in marks]
    own = [*_in_sessions(session, absences), one.id.in_([mark.record_id for mark in marks])]
    present = {row.id: row.version for row in session.execute(select(one.id, one.version).where(*own))}
    unchanged = [mark for mark in marks if present.get(mark.record_id) == mark.version]
    removed = [mark for mark in unchanged if mark.previous is None]
    if removed:
        records = select(one).where(*own, one.id.in_([mark.record_id for mark in removed]))
        with _because(session, reason):
            for record in session.scalars(records.execution_options(populate_existing=True)):
                session.delete(record)
            session.flush()
        writes.count_each(session, RegisterVersion, [mark.absence.session_id for mark in removed])
    rows = [_row(one.absence, _restored(one.previous), one.version) for one in unchanged if one.previous is not None]
    if rows:
        _write(session, rows, reason)
    return [mark.record_id for mark in unchanged]


@contextmanager
def _because(session: Session, reason: str) -> Iterator[None]:
    """Give the changes of the block a reason of their own; the unit may have another one for its other changes."""
    before, session.unit.reason = session.unit.reason, reason
    try:
        yield
    finally:
        session.unit.reason = before


def _write(
    session: Session, rows: Sequence[Mapping[str, Any]], reason: str
) -> dict[tuple[UUID, UUID], tuple[UUID, int]]:
    """Write marks; return the id and the version of each, by session and student."""
    with _because(session, reason):
        done = writes.merge(session, AttendanceRecord, rows, key=_KEY, change=CHANGED, when=_AS_SEEN)
    writes.count_each(session, RegisterVersion, [row.session_id for row in done])
    return {(row.session_id, row.student_id): (row.id, row.version) for row in done}


def _row(absence: Absence, values: Mapping[str, Any], version: int) -> dict[str, Any]:
    return {
        **{name: values[name] for name in CHANGED},
        "local_date": absence.local_date,
        "session_id": absence.session_id,
        "student_id": absence.student_id,
        "group_id": absence.group_id,
        "version": version + 1,
    }


def _previous(mark: Any) -> dict[str, Any] | None:
    return None if mark is None else {name: getattr(mark, name) for name in CHANGED}


def _restored(previous: Mapping[str, Any]) -> dict[str, Any]:
    """Convert ids from JSON, so that the audit log compares them with those of the row."""
    ids = {name: UUID(previous[name]) for name in ("device_id", "marked_by") if previous[name] is not None}
    return {**previous, **ids}


def _of_organization(session: Session) -> Principal:
    """Return a principal of the unit's organization for the rules of codes: a job has no caller."""
    return Principal(UUID(int=0), cast("UUID", session.unit.organization_id), Role.ADMIN, "UTC")


def _excused_code(session: Session) -> dict[str, Any]:
    """Return the organization's first code that counts as excused.

    :raises NoExcusedCode: there is none.
    """
    one = AttendanceCode
    row = session.execute(
        select(one.key, one.counts_as, one.in_rate)
        .where(codes.in_force(_of_organization(session)), one.is_archived.is_(False), one.counts_as == "excused")
        .order_by(one.position, one.id)
        .limit(1)
    ).one_or_none()
    if row is None:
        raise NoExcusedCode
    return {"code": row.key, "counts_as": row.counts_as, "in_rate": row.in_rate}


def _marks(session: Session, absences: Sequence[Absence]) -> Sequence[AnyRow]:
    """Return the marks of students in sessions; some of other pairs among them."""
    one = AttendanceRecord
    if not absences:
        return []
    columns = (one.session_id, one.student_id, one.version, *(getattr(one, name) for name in CHANGED))
    students = one.student_id.in_({absence.student_id for absence in absences})
    return session.execute(select(*columns).where(*_in_sessions(session, absences), students)).all()


def _in_sessions(session: Session, absences: Sequence[Absence]) -> list[ColumnElement[bool]]:
    """Return the condition on the sessions' records; the range of dates limits the months that are read."""
    one, dates = AttendanceRecord, [absence.local_date for absence in absences]
    return [
        one.organization_id == session.unit.organization_id,
        one.local_date.between(min(dates), max(dates)),
        one.session_id.in_({absence.session_id for absence in absences}),
    ]
