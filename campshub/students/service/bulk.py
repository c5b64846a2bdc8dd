"""Create many students with one statement; each row has its own result, and an invalid one affects no other."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from campshub.core.db import writes
from campshub.core.db.fingerprints import fingerprint
from campshub.core.db.models import new_id
from campshub.core.db.session import Session
from campshub.core.errors import Deleted, FieldError
from campshub.core.http.schemas.rows import GivenRow
from campshub.core.security.principal import Principal
from campshub.core.service_base import Services
from campshub.students.models import Student
from campshub.students.service import guardian_links
from campshub.students.service.changes import TAKEN, Holders, Keys, Known, keys_of, known_before, read_holders
from campshub.students.service.custom_values import for_create
from campshub.students.service.students import (
    BornInFuture,
    UnknownLogin,
    is_unborn,
    new_row,
    without_empty_fields,
)

OUTCOMES = ("created", "updated", "unchanged", "error")


@dataclass
class StudentRow:
    """A row of the request body, with its result."""

    index: int
    values: dict[str, Any]
    fingerprint: bytes
    errors: list[FieldError]
    outcome: str = "error"
    # The student with the row's code: new, existing, or created by an earlier row.
    student_id: UUID | None = None
    earlier: "StudentRow | None" = None
    # The row repeats ``earlier`` with the same id, and shares its outcome.
    is_repeated: bool = False
    # The checked values of custom fields.
    custom_fields: dict[str, Any] = field(default_factory=dict)

    @property
    def keys(self) -> Keys:
        """The unique keys of the row."""
        return keys_of(self.values)

    def result(self) -> dict[str, Any]:
        """Return the result of the row."""
        line = self.earlier or self
        return {"index": self.index, "outcome": self.outcome, "id": line.student_id, "errors": self.errors}


def create_many(
    session: Session, principal: Principal, services: Services, *, students: Sequence[GivenRow], dry_run: bool
) -> dict[str, Any]:
    """Create many students.

    The rows are written in the order of their codes, so that concurrent calls with the same students cannot deadlock.
    Rows that another call has created in between are read again.

    :param dry_run: return the results without creating anyone.
    """
    lines = [new_line(index, dict(row.values or {}), services, row.errors) for index, row in enumerate(students)]
    readable = [line for line in lines if not line.errors]
    known = known_before(session, principal, [line.values for line in readable])
    known.holders = _holders(session, principal, readable)
    for line in readable:
        settle(line, known)
    missed = [] if dry_run else insert(session, principal, services, readable)
    if missed:
        known.given, known.holders = {}, _holders(session, principal, missed)
    for line in missed:
        settle(line, known)
        if line.outcome == "created":  # the conflicting row was deleted again
            refuse_concurrent(line)
    for line in readable:
        if line.is_repeated and line.earlier is not None:
            line.outcome = "error" if line.earlier.errors else "unchanged"
            line.errors = line.earlier.errors
    return answer(lines, dry_run=dry_run)


def insert(session: Session, principal: Principal, services: Services, lines: Sequence[StudentRow]) -> list[StudentRow]:
    """Insert the students that are to be created; return the rows whose keys another call has taken in between."""
    new = sorted((line for line in lines if line.outcome == "created"), key=lambda line: line.values["code"])
    rows = [
        {
            **new_row(principal, services, line.values["id"], line.values),
            "custom_fields": line.custom_fields,
            "fingerprint": line.fingerprint,
        }
        for line in new
    ]
    made = {row.id for row in writes.insert(session, Student, rows, on_conflict="DO NOTHING")}
    guardians = {line.values["id"]: line.values["guardians"] for line in new if line.student_id in made}
    guardian_links.link_new(session, principal, guardians)
    return [line for line in new if line.student_id not in made]


def refuse_concurrent(line: StudentRow) -> None:
    """Refuse a row whose student another request has written and removed at the same moment."""
    line.outcome, line.student_id = "error", None
    line.errors = [FieldError("", "conflict", "Changed by another request at the same moment; send it again.")]


def answer(lines: Sequence[Any], *, dry_run: bool) -> dict[str, Any]:
    """Return the results of the rows; a dry run has no ids of students that it did not create."""
    outcomes = [line.outcome for line in lines]
    results = [line.result() for line in lines]
    if dry_run:
        for line, result in zip(lines, results, strict=True):
            result["id"] = None if "created" in (line.outcome, line.earlier and line.earlier.outcome) else result["id"]
    return {
        "results": results,
        "summary": {outcome: outcomes.count(outcome) for outcome in OUTCOMES},
        "dry_run": dry_run,
    }


def new_line(index: int, values: dict[str, Any], services: Services, errors: Sequence[FieldError] = ()) -> StudentRow:
    """Return a row of a student who may be created."""
    row_id = values.pop("id", None) or new_id()
    body_fingerprint = fingerprint(without_empty_fields(values), key=services.fingerprint_key)
    return StudentRow(index, {**values, "id": row_id}, body_fingerprint, list(errors))


def _holders(session: Session, principal: Principal, lines: Sequence[StudentRow]) -> Holders:
    """Return the existing students by each of their keys that the rows use."""
    return read_holders(session, principal, {key for line in lines for key in line.keys})


def settle(line: StudentRow, known: Known) -> None:
    """Decide the outcome of a row."""
    same = known.holders.get(("id", line.values["id"]))
    if same is not None and same.fingerprint == line.fingerprint and same.deleted_at is None:
        line.outcome, line.student_id = "unchanged", same.id
        return
    earlier = known.given.get(("id", line.values["id"]))
    if earlier is not None and earlier.fingerprint == line.fingerprint:
        line.earlier, line.is_repeated = earlier, True
        return
    line.errors = list(_errors(line, known))
    if not line.errors:
        line.outcome, line.student_id = "created", line.values["id"]
        known.given |= dict.fromkeys(line.keys, line)
        return
    code = ("code", line.values["code"])
    holder, line.earlier = known.holders.get(code), known.given.get(code)
    line.outcome = "error"
    line.student_id = holder.id if holder is not None and holder.is_seen else None


def _errors(line: StudentRow, known: Known) -> Iterator[FieldError]:
    """Yield an error for each key that belongs to another student, in the database or in an earlier row."""
    if is_unborn(line.values, known.today):
        yield from BornInFuture().errors
        return
    line.custom_fields, errors = for_create(known.definitions, line.values.get("custom_fields") or {})
    if errors:
        yield from errors
        return
    if line.values.get("user_id") not in known.logins:
        yield FieldError("/user_id", UnknownLogin.code, UnknownLogin().detail)
        return
    yield from guardian_links.errors_of(line.values["guardians"], known.unknown_guardians)
    for name, value in sorted(line.keys, key=lambda key: key[0]):
        holder = known.holders.get((name, value))
        is_deleted = holder is not None and holder.is_seen and holder.deleted_at is not None
        if is_deleted and name == "id":
            yield FieldError("/id", Deleted.code, Deleted().detail)
        elif holder is not None or (name, value) in known.given:
            detail = "A deleted student has it." if is_deleted else "Another student has it."
            yield FieldError(f"/{name}", TAKEN[name], detail)
