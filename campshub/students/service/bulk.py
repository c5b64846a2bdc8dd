"""Create many students with one statement; each row has its own result, and an invalid one affects no other."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any
from uuid import UUID

from sqlalchemy import func, or_, select

from campshub.accounts.models import Membership
from campshub.core.db import writes
from campshub.core.db.fingerprints import fingerprint
from campshub.core.db.models import AnyRow, new_id
from campshub.core.db.session import Session
from campshub.core.errors import Deleted, FieldError, IdTaken
from campshub.core.http.schemas.rows import GivenRow
from campshub.core.security.principal import Principal, visible_to
from campshub.core.service_base import Services
from campshub.students.models import Student
from campshub.students.queries import custom_fields
from campshub.students.service.custom_values import for_create
from campshub.students.service.students import (
    BornInFuture,
    CodeTaken,
    LoginTaken,
    StudentExternalIdTaken,
    UnknownLogin,
    is_unborn,
    new_row,
    without_empty_fields,
)
from campshub.students.values import Definition

OUTCOMES = ("created", "unchanged", "error")
# The unique keys within an organization, and the error codes of values that are in use, as for a single create.
_TAKEN = {
    "id": IdTaken.code,
    "code": CodeTaken.code,
    "external_id": StudentExternalIdTaken.code,
    "user_id": LoginTaken.code,
}
_KEYS = tuple(_TAKEN)

Present = Mapping[tuple[str, Any], AnyRow]


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
    def keys(self) -> set[tuple[str, Any]]:
        """The unique keys of the row."""
        return {(name, value) for name in _KEYS if (value := self.values.get(name)) is not None}

    def result(self) -> dict[str, Any]:
        """Return the result of the row."""
        line = self.earlier or self
        return {"index": self.index, "outcome": self.outcome, "id": line.student_id, "errors": self.errors}


@dataclass
class Known:
    """The state before the rows are written, and the keys that earlier rows will add."""

    present: Present
    logins: set[UUID | None]
    today: date
    definitions: Mapping[str, Definition]
    given: dict[tuple[str, Any], StudentRow] = field(default_factory=dict)


def create_many(
    session: Session, principal: Principal, services: Services, *, students: Sequence[GivenRow]
) -> dict[str, Any]:
    """Create many students.

    The rows are written in the order of their codes, so that concurrent calls with the same students cannot deadlock.
    Rows that another call has created in between are read again.
    """
    lines = [_line(index, row, services) for index, row in enumerate(students)]
    readable = [line for line in lines if not line.errors]
    today = principal.today(session.unit.now)
    logins, definitions = _known_before(session, principal, readable)
    known = Known(_present(session, principal, readable), logins, today, definitions)
    for line in readable:
        _settle(line, known)
    new = sorted((line for line in readable if line.outcome == "created"), key=lambda line: line.values["code"])
    rows = [
        {
            **new_row(principal, services, line.values["id"], line.values),
            "custom_fields": line.custom_fields,
            "fingerprint": line.fingerprint,
        }
        for line in new
    ]
    made = {row.id for row in writes.insert(session, Student, rows, on_conflict="DO NOTHING")}
    missed = [line for line in new if line.student_id not in made]
    if missed:
        known = Known(_present(session, principal, missed), logins, today, definitions)
    for line in missed:
        _settle(line, known)
        if line.outcome == "created":  # the conflicting row was deleted again
            line.outcome, line.student_id = "error", None
            line.errors = [FieldError("", "conflict", "Changed by another request at the same moment; send it again.")]
    for line in readable:
        if line.is_repeated and line.earlier is not None:
            line.outcome = "error" if line.earlier.errors else "unchanged"
            line.errors = line.earlier.errors
    outcomes = [line.outcome for line in lines]
    return {
        "results": [line.result() for line in lines],
        "summary": {outcome: outcomes.count(outcome) for outcome in OUTCOMES},
    }


def _line(index: int, row: GivenRow, services: Services) -> StudentRow:
    values = dict(row.values or {})
    row_id = values.pop("id", None) or new_id()
    body_fingerprint = fingerprint(without_empty_fields(values), key=services.fingerprint_key)
    return StudentRow(index, {**values, "id": row_id}, body_fingerprint, list(row.errors))


def _settle(line: StudentRow, known: Known) -> None:
    """Decide the outcome of a row."""
    same = known.present.get(("id", line.values["id"]))
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
    holder, line.earlier = known.present.get(code), known.given.get(code)
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
    for name, value in sorted(line.keys, key=lambda key: key[0]):
        holder = known.present.get((name, value))
        is_deleted = holder is not None and holder.is_seen and holder.deleted_at is not None
        if is_deleted and name == "id":
            yield FieldError("/id", Deleted.code, Deleted().detail)
        elif holder is not None or (name, value) in known.given:
            detail = "A deleted student has it." if is_deleted else "Another student has it."
            yield FieldError(f"/{name}", _TAKEN[name], detail)


def _present(session: Session, principal: Principal, lines: Sequence[StudentRow]) -> Present:
    """Return the existing students by each of their keys that the rows use."""
    wanted: dict[str, list[Any]] = {name: [] for name in _KEYS}
    for line in lines:
        for name, value in line.keys:
            wanted[name].append(value)
    if not any(wanted.values()):
        return {}
    seen = visible_to(principal, Student).label("is_seen")
    found = session.execute(
        select(*(getattr(Student, name) for name in _KEYS), Student.fingerprint, Student.deleted_at, seen).where(
            Student.organization_id == principal.organization_id,
            or_(*(getattr(Student, name).in_(values) for name, values in wanted.items() if values)),
        )
    )
    return {(name, getattr(row, name)): row for row in found for name in _KEYS}


def _known_before(
    session: Session, principal: Principal, lines: Sequence[StudentRow]
) -> tuple[set[UUID | None], Mapping[str, Definition]]:
    """Return the rows' logins that are members of the organization, plus None, and the custom fields."""
    wanted = {line.values.get("user_id") for line in lines} - {None}
    members = select(Membership.user_id).where(visible_to(principal, Membership), Membership.user_id.in_(wanted))
    definitions = custom_fields.locked_definitions(principal)
    found, locked = session.execute(select(func.array(members.scalar_subquery()), definitions)).one()
    return {None, *found}, custom_fields.read_locked(principal, locked)
