"""Change or delete many students in one call; each row has its own result, and a wrong one affects no other."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from campshub.core.db.session import Session
from campshub.core.db.writes import Versions
from campshub.core.errors import FieldError, NotFound, PreconditionFailed
from campshub.core.http.schemas.rows import GivenRow
from campshub.core.security.principal import Principal
from campshub.core.service_base import Services
from campshub.students.models import Student
from campshub.students.service import changes
from campshub.students.service.changes import ChangedRow

UPDATE_OUTCOMES = ("updated", "unchanged", "conflict", "error")
DELETE_OUTCOMES = ("deleted", "unchanged", "conflict", "error")
_UNIQUE = frozenset(changes.TAKEN) - {"id"}


def update_many(
    session: Session,
    principal: Principal,
    services: Services,
    *,
    students: Sequence[GivenRow],
    dry_run: bool,
    expected: Versions,
) -> dict[str, Any]:
    """Change many students, found by their ids.

    :param dry_run: return the results without changing anything.
    :raises PreconditionFailed: a student has none of the expected versions.
    :raises Forbidden: a row has a medical note, and the principal may not write them.
    """
    lines = _read_lines(students)
    valid = [line for line in lines if not line.errors]
    known = changes.known_before(session, principal, [line.given for line in valid])
    _lock(session, principal, valid, expected)
    new_keys = {key for line in valid for key in changes.keys_of(line.given) if key[0] in _UNIQUE}
    known.holders = changes.read_holders(session, principal, new_keys)
    changes.read_relinked(session, principal, valid, known)
    for line in valid:
        changes.settle(line, principal, services, known)
    if not dry_run:
        changes.write(session, principal, valid)
    return _answer(lines, UPDATE_OUTCOMES, known, dry_run=dry_run)


def delete_many(
    session: Session, principal: Principal, *, students: Sequence[GivenRow], dry_run: bool, now: datetime
) -> dict[str, Any]:
    """Mark many students as deleted; those who are deleted already stay ``unchanged``."""
    lines = _read_lines(students)
    valid = [line for line in lines if not line.errors]
    known = changes.known_before(session, principal, [])
    _lock(session, principal, valid, None)
    for line in valid:
        _settle_deletion(line, now)
    if not dry_run:
        changes.write(session, principal, valid)
    return _answer(lines, DELETE_OUTCOMES, known, dry_run=dry_run)


def _settle_deletion(line: ChangedRow, now: datetime) -> None:
    row = line.present
    if row is None or not row["is_seen"]:
        line.present = None
        line.errors = [FieldError("/id", NotFound.code, "No such student.")]
        return
    line.student_id = row["id"]
    if row["deleted_at"] is not None:
        line.outcome = "unchanged"
    elif line.version is not None and row["version"] != line.version:
        line.outcome = "conflict"
    else:
        line.outcome, line.after = "deleted", {"deleted_at": now}


def _read_lines(students: Sequence[GivenRow]) -> list[ChangedRow]:
    """Return the rows; one whose student an earlier row names is an error."""
    lines, seen = [], set()
    for index, row in enumerate(students):
        given = dict(row.values or {})
        student_id, version = given.pop("id", None), given.pop("version", None)
        errors = list(row.errors)
        if student_id is not None and student_id in seen:
            errors = [FieldError("/id", "repeated", "An earlier row has this id.")]
        seen.add(student_id)
        lines.append(ChangedRow(index, given, errors, version, student_id=student_id))
    return lines


def _lock(session: Session, principal: Principal, lines: Sequence[ChangedRow], expected: Versions) -> None:
    """Lock the students of the rows.

    :raises PreconditionFailed: one of them has none of the expected versions.
    """
    wanted = [line.student_id for line in lines]
    found: Mapping[UUID | None, Mapping[str, Any]] = {
        row["id"]: row for row in (changes.lock_students(session, principal, Student.id.in_(wanted)) if wanted else ())
    }
    for line in lines:
        line.present = found.get(line.student_id)
        is_seen = line.present is not None and line.present["is_seen"]
        if is_seen and expected is not None and line.present and line.present["version"] not in expected:
            raise PreconditionFailed
        line.student_id = line.student_id if is_seen else None


def _answer(
    lines: Sequence[ChangedRow], outcomes: Sequence[str], known: changes.Known, *, dry_run: bool
) -> dict[str, Any]:
    found = [line.outcome for line in lines]
    return {
        "results": [line.result(known.definitions) for line in lines],
        "summary": {outcome: found.count(outcome) for outcome in outcomes},
        "dry_run": dry_run,
    }
