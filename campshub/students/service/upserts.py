"""Create students, or change those who exist, found by their code or external id."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, Unpack
from uuid import UUID

from campshub.core import names
from campshub.core.db.session import Session
from campshub.core.db.writes import Versions
from campshub.core.errors import Deleted, FieldError, IdTaken, Invalid, PreconditionFailed
from campshub.core.http.schemas.rows import GivenRow
from campshub.core.security.principal import Principal
from campshub.core.service_base import Services
from campshub.students.models import Student
from campshub.students.service import bulk, changes, students
from campshub.students.service.bulk import StudentRow
from campshub.students.service.changes import ChangedRow, Known

# What a new student has where the request has nothing.
_DEFAULTS: Mapping[str, Any] = {
    "given_name": "",
    "family_name": "",
    "emergency_contacts": [],
    "guardians": [],
    "tags": [],
    "status": "active",
}
_PROBLEMS = {
    "/code": students.CodeTaken,
    "/external_id": students.StudentExternalIdTaken,
    "/user_id": students.LoginTaken,
    "/id": IdTaken,
}
_LONGEST = 200
Line = StudentRow | ChangedRow


def upsert_many(
    session: Session,
    principal: Principal,
    services: Services,
    *,
    rows: Sequence[GivenRow],
    key: str,
    dry_run: bool,
) -> dict[str, Any]:
    """Create many students, or change those who exist; properties that a row omits stay as they are.

    :param key: by which a row finds its student: ``code`` or ``external_id``.
    :param dry_run: return the results without changing anything.
    :raises Forbidden: a row has a medical note, and the principal may not write them.
    """
    given = []
    for row in rows:
        # The values that the body has, without the schema's defaults.
        named = row.raw if isinstance(row.raw, dict) else {}
        given.append(replace(row, values={n: v for n, v in (row.values or {}).items() if n in named}))
    lines = upsert(session, principal, services, rows=given, key=key, dry_run=dry_run)
    return bulk.answer([_Result(line) for line in lines], dry_run=dry_run)


class _Result:
    """A row as ``bulk.answer`` shows it: every kind of row has the same properties."""

    def __init__(self, line: Line) -> None:
        self.outcome, self.earlier, self._line = line.outcome, line.earlier, line

    def result(self) -> dict[str, Any]:
        """Return the result of the row."""
        line = self.earlier or self._line
        return {"index": self._line.index, "outcome": self.outcome, "id": line.student_id, "errors": self._line.errors}


def upsert(
    session: Session,
    principal: Principal,
    services: Services,
    *,
    rows: Sequence[GivenRow],
    key: str,
    dry_run: bool = False,
    expected: Versions = None,
) -> list[Line]:
    """Create or change students, and return their rows with the results.

    Students whom another call has created in between are read again, and changed.

    :raises PreconditionFailed: a student does not exist, or has none of the expected versions.
    """
    lines = _read_lines(rows, key)
    pending = [line for line in lines if not line.errors]
    known = changes.known_before(session, principal, [line.given for line in pending])
    _find(session, principal, pending, known, key, expected)
    settled: list[Line] = [line if line.errors else _settle(line, principal, services, known, key) for line in lines]
    new = [line for line in settled if isinstance(line, StudentRow)]
    missed = [] if dry_run else [lines[line.index] for line in bulk.insert(session, principal, services, new)]
    if missed:
        known.given = {}
        _find(session, principal, missed, known, key, expected)
    for line in missed:
        again = settled[line.index] = _settle(line, principal, services, known, key)
        if isinstance(again, StudentRow) and again.outcome == "created":  # the conflicting row was deleted again
            bulk.refuse_concurrent(again)
    if not dry_run:
        changes.write(session, principal, [line for line in settled if isinstance(line, ChangedRow)])
    return settled


def upsert_one(
    session: Session,
    principal: Principal,
    services: Services,
    *,
    external_id: str,
    expected: Versions,
    **given: Unpack[students.ExternalStudent],
) -> tuple[UUID, bool]:
    """Create or change the student with an external id; return their id, and whether they are new.

    :raises PreconditionFailed: the student does not exist, or has none of the expected versions.
    :raises CodeTaken, StudentExternalIdTaken, LoginTaken, Deleted: a unique key belongs to another or deleted student.
    :raises Invalid: a value is wrong.
    """
    if not names.is_visible(external_id) or not names.is_one_line(external_id) or len(external_id) > _LONGEST:
        raise Invalid.at("/external_id", "invalid", f"Must be one line of at most {_LONGEST} characters.")
    row = GivenRow({**given, "external_id": names.trimmed(external_id)}, [])
    (line,) = upsert(session, principal, services, rows=[row], key="external_id", expected=expected)
    if line.student_id is not None and line.outcome != "error":
        return line.student_id, line.outcome == "created"
    for error in line.errors:
        problem = _PROBLEMS.get(error.pointer)
        if problem is not None and error.code == problem.code:
            raise problem(errors=line.errors)
    if isinstance(line, ChangedRow) and line.student_id is not None and line.errors[0].code == Deleted.code:
        raise students.STUDENTS.conflict(Deleted, SimpleNamespace(**line.present or {}))
    raise Invalid.of(line.errors)


def _read_lines(rows: Sequence[GivenRow], key: str) -> list[ChangedRow]:
    """Return the rows; one without the key, or with that of an earlier row, is an error."""
    lines, seen = [], set()
    for index, row in enumerate(rows):
        given, errors = dict(row.values or {}), list(row.errors)
        value = given.get(key)
        if not errors and value is None:
            errors = [FieldError(f"/{key}", "required", "Rows find their student by this property.")]
        elif not errors and value in seen:
            errors = [FieldError(f"/{key}", "repeated", "An earlier row has this value.")]
        seen.add(value)
        lines.append(ChangedRow(index, given, errors))
    return lines


def _find(
    session: Session, principal: Principal, lines: Sequence[ChangedRow], known: Known, key: str, expected: Versions
) -> None:
    """Lock the students whom the rows find, and read who has the other unique keys of the rows.

    :raises PreconditionFailed: a student does not exist, or has none of the expected versions.
    """
    column = getattr(Student, key)
    wanted = [line.given[key] for line in lines]
    found = {row[key]: row for row in changes.lock_students(session, principal, column.in_(wanted))} if wanted else {}
    for line in lines:
        line.present = found.get(line.given[key])
        versions = {line.present["version"]} if line.present and line.present["is_seen"] else set()
        if expected is not None and not versions & expected:
            raise PreconditionFailed
    known.holders = changes.read_holders(session, principal, {k for line in lines for k in changes.keys_of(line.given)})
    changes.read_relinked(session, principal, lines, known)


def _settle(line: ChangedRow, principal: Principal, services: Services, known: Known, key: str) -> Line:
    """Decide the outcome of a row; return it, or the row of a new student."""
    row = line.present
    if row is None:
        new = bulk.new_line(line.index, {**_DEFAULTS, **line.given}, services)
        if new.values["given_name"] or new.values["family_name"]:
            bulk.settle(new, known)
        else:
            new.errors = list(students.NoName().errors)
        return new
    if not row["is_seen"]:
        line.present, line.errors = None, [FieldError(f"/{key}", changes.TAKEN[key], "Another student has it.")]
    elif row["deleted_at"] is not None:
        line.student_id, line.errors = row["id"], [FieldError(f"/{key}", Deleted.code, "A deleted student has it.")]
    else:
        line.given = {name: value for name, value in line.given.items() if name != "id"}
        changes.settle(line, principal, services, known)
    return line
