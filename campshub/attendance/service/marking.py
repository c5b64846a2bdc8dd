"""Mark a roster: many marks in one call, with a result for each row, and without lost updates.

Each row is decided on the mark that was read, and is written only onto the version of that mark. Marks that another
call has written in between are read again and decided again.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from campshub.attendance.models import AttendanceRecord, RegisterVersion
from campshub.attendance.queries import registers
from campshub.attendance.queries.registers import MARK, Mark, Register
from campshub.attendance.service import marks
from campshub.core.db import writes
from campshub.core.db.session import Session
from campshub.core.db.writes import Versions, require_version
from campshub.core.errors import Conflict, FieldError, Invalid, PreconditionFailed
from campshub.core.http.schemas.rows import GivenRow
from campshub.core.security.principal import Principal

TRIES = 3
OUTCOMES = ("created", "updated", "unchanged", "conflict", "error")
_KEY = ("local_date", "session_id", "student_id")
_CHANGE = (
    "code",
    "counts_as",
    "in_rate",
    "check_in_at",
    "check_out_at",
    "minutes",
    "note",
    "source",
    "device_id",
    "marked_by",
    "recorded_at",
)
_AS_SEEN = "attendance_records.version = excluded.version - 1"


class MarkRemovedMeanwhile(Conflict):
    """A concurrent request removed a mark, so nothing was saved; read the register again."""

    code = "changed_meanwhile"
    default_detail = "A concurrent request removed a mark, so nothing was saved; read the register again."


class NoRoster(Invalid):
    """An open gym session has no roster, so `rest` is not allowed."""

    code = "no_roster"
    default_detail = "An open gym session has no roster, so `rest` is not allowed."
    pointer = "/rest"


class RosterTooLarge(Invalid):
    """The roster is too large for `rest`; mark the students by id."""

    code = "roster_too_large"
    default_detail = "The roster is too large for `rest`; mark the students by id."
    pointer = "/rest"


@dataclass
class MarkRow:
    """A row of the request body, or a student covered by ``rest``, with its result."""

    index: int | None
    student_id: UUID | None
    given: dict[str, Any] = field(default_factory=dict)
    errors: list[FieldError] = field(default_factory=list)
    outcome: str = "error"
    mark: Mark | None = None

    @property
    def is_rest(self) -> bool:
        """Whether the student has no row in the body."""
        return self.index is None


def mark_many(
    session: Session,
    principal: Principal,
    *,
    session_id: UUID,
    records: Sequence[GivenRow],
    rest: str | None,
    overwrite: bool,
    reason: str | None,
    expected: Versions = None,
) -> dict[str, Any]:
    """Mark students in a session.

    A row creates a mark or confirms it. It changes a different mark only with the mark's version or with
    ``overwrite``; otherwise its outcome is ``conflict``. ``rest`` is the code for all other students on the roster
    without a mark. ``expected`` are the versions of the whole register that the caller allows.

    :raises NotFound: the principal sees no such session.
    :raises PreconditionFailed: the register has changed since the caller read it.
    :raises SessionLocked, SessionCancelled, ReasonRequired: the register's state does not allow a change.
    :raises Invalid: ``rest`` is not a code, or is used with a row whose student cannot be read.
    """
    session.unit.reason = reason
    lines = _lines(records, named=rest is not None)
    students = [line.student_id for line in lines if line.student_id is not None]
    register = registers.lock_for_marking(session, principal, session_id, students, whole=rest is not None)
    require_version(register, expected)
    for line in lines:
        line.errors = line.errors or list(_errors(register, line))
    if rest is not None:
        lines += _rest(register, rest, set(students))
    version = _settle(session, principal, register, lines, overwrite=overwrite, reason=reason, expected=expected)
    outcomes = [line.outcome for line in lines]
    return {
        "results": [_result(line) for line in lines],
        "summary": {outcome: outcomes.count(outcome) for outcome in OUTCOMES},
        "version": version,
    }


def _lines(records: Sequence[GivenRow], *, named: bool) -> list[MarkRow]:
    """Read the rows; of several rows for one student, the first counts.

    :raises Invalid: with ``named``, a row has no readable student id.
    """
    lines: list[MarkRow] = []
    seen: set[UUID] = set()
    for index, row in enumerate(records):
        line = MarkRow(index, _student_of(row), dict(row.values or {}), list(row.errors))
        if line.student_id is None and named:
            # Otherwise ``rest`` would mark the student of this row.
            errors = [FieldError(f"/records/{index}{e.pointer}", e.code, e.detail) for e in line.errors]
            raise Invalid.of(errors)
        if line.student_id in seen:
            line.errors = [FieldError("/student_id", "repeated", "An earlier row names this student.")]
        elif line.student_id is not None:
            seen.add(line.student_id)
        lines.append(line)
    return lines


def _student_of(row: GivenRow) -> UUID | None:
    """Return the student id of a row, even if other fields of the row are invalid."""
    if row.values is not None:
        student_id: UUID = row.values["student_id"]
        return student_id
    try:
        return UUID(row.raw["student_id"])
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _errors(register: Register, line: MarkRow) -> Iterator[FieldError]:
    entry = register.entries.get(line.student_id) if line.student_id else None
    if entry is None:
        yield FieldError("/student_id", "unknown_student", "The student does not exist, or you may not see them.")
    elif register.group_id is not None and not entry.is_on_roster and entry.mark is None:
        yield FieldError("/student_id", "not_on_roster", "The student is not in the group on the date of the session.")
    if line.given["code"] not in register.codes:
        yield marks.unknown_code("/code", line.given["code"], list(register.codes))


def _rest(register: Register, code: str, named: set[UUID]) -> list[MarkRow]:
    """Return a line for each student on the roster without a row.

    :raises Invalid: there is no roster, or no such code.
    """
    if register.group_id is None:
        raise NoRoster
    if code not in register.codes:
        raise Invalid.of([marks.unknown_code("/rest", code, list(register.codes))])
    others = sorted(key for key, entry in register.entries.items() if entry.is_on_roster and key not in named)
    if len(register.entries) >= registers.MOST_ON_ROSTER:
        raise RosterTooLarge
    return [MarkRow(None, student_id, {"code": code}) for student_id in others]


def _settle(
    session: Session,
    principal: Principal,
    register: Register,
    lines: Sequence[MarkRow],
    *,
    overwrite: bool,
    reason: str | None,
    expected: Versions,
) -> int:
    """Decide and write until no other call interferes; after ``TRIES`` the other calls' marks stay.

    Return the version of the register.
    """
    version = register.version
    present: dict[UUID | None, Mark | None] = {key: entry.mark for key, entry in register.entries.items()}
    pending = [line for line in lines if not line.errors]
    for _ in range(TRIES):
        decided = {
            line.student_id: _decide(principal, register, line, present, overwrite=overwrite) for line in pending
        }
        rows = {student_id: row for student_id, row in decided.items() if row is not None}
        if not rows:
            return version
        marks.require_changeable(principal, register.meeting, reason)
        written, counted = _write(session, register, rows)
        missed = rows.keys() - written.keys()
        if expected is not None and (missed or counted != version + 1):
            raise PreconditionFailed  # another call marked between this call's read and write
        version = counted or version
        for line in pending:
            line.mark = written.get(line.student_id, line.mark)
        if not missed:
            return version
        pending = [line for line in pending if line.student_id in missed]
        there = registers.marks_of(session, principal, register, [student_id for student_id in missed if student_id])
        present |= {student_id: there.get(student_id) for student_id in missed if student_id}
    for line in pending:
        line.outcome, line.mark = "conflict", present[line.student_id]
    return version


def _write(
    session: Session, register: Register, rows: Mapping[UUID | None, dict[str, Any]]
) -> tuple[dict[UUID | None, Mark], int | None]:
    """Write marks onto the versions on which they were decided; return the written ones.

    Return also the register's new version, or None if no mark was written.

    :raises MarkRemovedMeanwhile: a mark to change was removed, and the write would have restored it.
    """
    written: dict[UUID | None, Mark] = {}
    counted = None
    for done in writes.merge(
        session,
        AttendanceRecord,
        list(rows.values()),
        key=_KEY,
        change=_CHANGE,
        when=_AS_SEEN,
        counted_by=(RegisterVersion, register.meeting.id),
    ):
        counted, row = done.counted, rows[done.student_id]
        if done.made and row["version"] > 1:
            raise MarkRemovedMeanwhile
        whole = {**row, "id": done.id, "version": done.version}
        written[done.student_id] = {name: whole[name] for name in MARK}
    return written, counted


def _decide(
    principal: Principal,
    register: Register,
    line: MarkRow,
    present: Mapping[UUID | None, Mark | None],
    *,
    overwrite: bool,
) -> dict[str, Any] | None:
    """Decide a line's outcome on the present mark; return the row to write, if any."""
    mark = line.mark = present[line.student_id]
    values = marks.merged(mark, line.given)
    if mark is not None and (line.is_rest or all(mark[name] == values[name] for name in marks.INPUT_FIELDS)):
        line.outcome = "unchanged"
    elif errors := marks.errors_of(principal, values, local_date=register.local_date):
        line.outcome, line.errors = "error", errors
    elif not overwrite and line.given.get("version") != (mark["version"] if mark else None):
        line.outcome = "conflict"
    else:
        line.outcome = "updated" if mark else "created"
        return _row(principal, register, line, values, mark)
    return None


def _row(
    principal: Principal, register: Register, line: MarkRow, values: Mapping[str, Any], mark: Mark | None
) -> dict[str, Any]:
    # If the code does not change, the mark still counts as it did when it was made.
    code = mark if mark and mark["code"] == values["code"] else register.codes[values["code"]]
    return {
        **values,
        "local_date": register.local_date,
        "session_id": register.meeting.id,
        "student_id": line.student_id,
        "group_id": register.group_id,
        "counts_as": code["counts_as"],
        "in_rate": code["in_rate"],
        "minutes": marks.minutes_between(values["check_in_at"], values["check_out_at"]),
        "source": "bulk" if line.is_rest else "manual",
        "device_id": None,
        "marked_by": principal.user_id,
        "recorded_at": line.given.get("recorded_at"),  # a mark that was sent at once has none
        "version": (mark["version"] if mark else 0) + 1,
    }


def _result(line: MarkRow) -> dict[str, Any]:
    """Return the result of a line, with the current mark."""
    mark = line.mark or dict.fromkeys(MARK)
    return {
        **mark,
        "index": line.index,
        "student_id": line.student_id,
        "outcome": line.outcome,
        "present": line.mark if line.outcome == "conflict" else None,
        "errors": line.errors,
    }
