"""Decide and write changes of many existing students: each row has its own result, and all are one statement."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, func, inspect, or_, select

from campshub.accounts.models import Membership
from campshub.core.db import writes
from campshub.core.db.models import AnyRow
from campshub.core.db.session import Session
from campshub.core.errors import FieldError, IdTaken, NotFound
from campshub.core.security.principal import Principal, visible_to
from campshub.core.service_base import Services
from campshub.students import names
from campshub.students.models import Student
from campshub.students.queries import custom_fields
from campshub.students.queries.students import LISTED_COLUMNS
from campshub.students.service import custom_values, guardian_links, students
from campshub.students.values import Definition

# The unique keys within an organization, and the error codes of values that are in use, as for a single create.
TAKEN = {
    "id": IdTaken.code,
    "code": students.CodeTaken.code,
    "external_id": students.StudentExternalIdTaken.code,
    "user_id": students.LoginTaken.code,
}
_COLUMNS = [getattr(Student, attribute.key) for attribute in inspect(Student).column_attrs]
_SEEN = "is_seen"
# The fields that are not columns as they are.
_OTHERWISE = ("custom_fields", "guardians", "medical_note")

Keys = set[tuple[str, Any]]
Holders = dict[tuple[str, Any], AnyRow]


@dataclass
class ChangedRow:
    """A row of the request body that changes a student, with its result."""

    index: int
    # The changes of the student; fields that are not in it stay as they are.
    given: dict[str, Any] = field(default_factory=dict)
    errors: list[FieldError] = field(default_factory=list)
    # The version that the student must have; None: any.
    version: int | None = None
    outcome: str = "error"
    student_id: UUID | None = None
    # The student as they were read; None: the caller sees no such student.
    present: Mapping[str, Any] | None = None
    # The columns that change, with their new values.
    after: dict[str, Any] = field(default_factory=dict)
    new_version: int | None = None
    # Whether the row changes the student's guardians.
    relinks: bool = False
    earlier: None = None  # as rows of new students have it

    def result(self, definitions: Mapping[str, Definition]) -> dict[str, Any]:
        """Return the result of the row; only a conflict shows the student."""
        is_conflict = self.outcome == "conflict" and self.present is not None
        return {
            "index": self.index,
            "outcome": self.outcome,
            "id": self.student_id,
            "version": self.new_version or (self.present or {}).get("version"),
            "present": shown(self.present or {}, definitions) if is_conflict else None,
            "errors": self.errors,
        }


@dataclass
class Known:
    """What the rows are checked against, as read before they are written."""

    definitions: Mapping[str, Definition]
    logins: set[UUID | None]
    today: date
    # Who has the new unique keys of the rows; earlier rows add theirs.
    holders: Holders = field(default_factory=dict)
    given: dict[tuple[str, Any], Any] = field(default_factory=dict)
    # The ids in the rows that are no guardians, and the students whose guardians a row changes.
    unknown_guardians: set[UUID] = field(default_factory=set)
    relinked: set[UUID] = field(default_factory=set)


def shown(row: Mapping[str, Any], definitions: Mapping[str, Definition]) -> dict[str, Any]:
    """Return a student as lists show them, with the values of custom fields that the caller sees."""
    values = {key: value for key, value in row["custom_fields"].items() if key in definitions}
    return {**{column.key: row[column.key] for column in LISTED_COLUMNS}, "custom_fields": values}


def known_before(session: Session, principal: Principal, rows: Sequence[Mapping[str, Any]]) -> Known:
    """Read the custom fields, and which logins of the rows are members of the organization, with one statement."""
    wanted = {row.get("user_id") for row in rows} - {None}
    members = select(Membership.user_id).where(visible_to(principal, Membership), Membership.user_id.in_(wanted))
    definitions = custom_fields.locked_definitions(principal)
    found, locked = session.execute(select(func.array(members.scalar_subquery()), definitions)).one()
    read = custom_fields.read_locked(principal, locked)
    known = Known(read, {None, *found}, principal.today(session.unit.now))
    known.unknown_guardians = guardian_links.unknown_guardians(
        session, principal, [row.get("guardians") or () for row in rows]
    )
    return known


def read_relinked(session: Session, principal: Principal, lines: Sequence[ChangedRow], known: Known) -> None:
    """Read whose guardians the rows change; the students are locked."""
    lists = {
        line.present["id"]: line.given["guardians"] for line in lines if line.present and "guardians" in line.given
    }
    known.relinked = guardian_links.differing(session, principal, lists)


def lock_students(session: Session, principal: Principal, *conditions: ColumnElement[bool]) -> list[dict[str, Any]]:
    """Lock the students that meet a condition, in the order of their ids, whether the principal sees them or not."""
    seen = visible_to(principal, Student).label(_SEEN)
    found = session.execute(
        select(*_COLUMNS, seen)
        .where(Student.organization_id == principal.organization_id, *conditions)
        .order_by(Student.id)
        .with_for_update(of=Student)
    )
    return [dict(row._mapping) for row in found]  # noqa: SLF001 - SQLAlchemy's public name for it


def keys_of(values: Mapping[str, Any]) -> Keys:
    """Return the unique keys in a row's values."""
    return {(name, value) for name in TAKEN if (value := values.get(name)) is not None}


def read_holders(session: Session, principal: Principal, keys: Keys) -> Holders:
    """Return who has some unique keys."""
    wanted: dict[str, list[Any]] = {}
    for name, value in keys:
        wanted.setdefault(name, []).append(value)
    if not wanted:
        return {}
    columns = [getattr(Student, name) for name in TAKEN]
    seen = visible_to(principal, Student).label(_SEEN)
    found = session.execute(
        select(*columns, Student.fingerprint, Student.deleted_at, seen).where(
            Student.organization_id == principal.organization_id,
            or_(*(getattr(Student, name).in_(values) for name, values in wanted.items())),
        )
    )
    return {(name, getattr(row, name)): row for row in found for name in TAKEN}


def settle(line: ChangedRow, principal: Principal, services: Services, known: Known) -> None:
    """Decide the outcome of a row whose student is locked.

    :raises Forbidden: it changes a medical note, and the principal may not write them.
    """
    row = line.present
    if row is None or not row[_SEEN] or row["deleted_at"] is not None:
        line.present = line.student_id = None
        line.errors = [FieldError("/id", NotFound.code, "No such student.")]
        return
    line.student_id = row["id"]
    if line.version is not None and row["version"] != line.version:
        line.outcome = "conflict"
        return
    after = {name: value for name, value in line.given.items() if name not in _OTHERWISE}
    line.errors = list(_errors(line, {**row, **after}, known))
    if "custom_fields" in line.given:
        given = line.given["custom_fields"]
        after["custom_fields"], errors = custom_values.for_change(known.definitions, row["custom_fields"], given)
        line.errors += errors
    if line.errors:
        return
    if "medical_note" in line.given:
        after["medical_note"] = students.changed_note(
            principal, services, row["id"], present=row["medical_note"], note=line.given["medical_note"]
        )
    line.after = {name: value for name, value in after.items() if value != row[name]}
    if line.after:
        line.after |= _search_keys({**row, **line.after}, row)
    known.given |= dict.fromkeys(keys_of(line.after), line)
    line.relinks = row["id"] in known.relinked and "guardians" in line.given
    line.outcome = "updated" if line.after or line.relinks else "unchanged"


def _errors(line: ChangedRow, merged: Mapping[str, Any], known: Known) -> Iterator[FieldError]:
    """Yield what is wrong with a student after the change, except in custom fields."""
    if not merged["given_name"] and not merged["family_name"]:
        yield from students.NoName().errors
    if students.is_unborn(line.given, known.today):
        yield from students.BornInFuture().errors
    if merged["left_on"] and merged["joined_on"] and merged["left_on"] < merged["joined_on"]:
        yield from students.LeftBeforeJoined().errors
    if line.given.get("user_id") not in known.logins:
        yield FieldError("/user_id", students.UnknownLogin.code, students.UnknownLogin().detail)
    yield from guardian_links.errors_of(line.given.get("guardians") or (), known.unknown_guardians)
    for name, value in sorted(keys_of(line.given), key=lambda key: key[0]):
        holder = known.holders.get((name, value))
        if (holder is not None and holder.id != merged["id"]) or (name, value) in known.given:
            yield FieldError(f"/{name}", TAKEN[name], "Another student has it.")


def _search_keys(after: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, str]:
    """Return the sort and search keys that differ."""
    keys = {
        "sort_name": names.sort_name(after["given_name"], after["family_name"]),
        "search_text": names.search_text(
            after["code"], after["given_name"], after["family_name"], after["preferred_name"]
        ),
    }
    return {name: key for name, key in keys.items() if key != before[name]}


def write(session: Session, principal: Principal, lines: Sequence[ChangedRow]) -> None:
    """Write the students that change, with one statement, and the links to their guardians."""
    changing = [line for line in lines if line.outcome in ("updated", "deleted") and line.present is not None]
    guardian_links.set_many(
        session,
        principal,
        {line.present["id"]: line.given["guardians"] for line in changing if line.present and line.relinks},
    )
    # A student of whom only the links change gets a new version too.
    columns = sorted({name for line in changing for name in line.after}) or ["status"]
    rows = [{**(line.present or {}), **line.after} for line in changing]
    versions = writes.update(session, Student, rows, change=columns)
    for line in changing:
        line.new_version = versions[line.present["id"]] if line.present else None
