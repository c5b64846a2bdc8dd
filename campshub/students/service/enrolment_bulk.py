"""Enrol many students in one call: the rules are those of one enrolment, and each row has its own result."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, ColumnElement, and_, any_, literal, or_, select

from campshub.core.db import writes
from campshub.core.db.fingerprints import fingerprint
from campshub.core.db.models import AnyRow, new_id
from campshub.core.db.session import Session
from campshub.core.errors import FieldError, IdTaken, UnknownReference
from campshub.core.http.schemas.rows import GivenRow
from campshub.core.security.principal import Principal, visible_to
from campshub.students.models import Enrolment, Group, Student
from campshub.students.queries.in_group import COUNTED
from campshub.students.service import places
from campshub.students.service.groups import AlreadyEnrolled, EnrolmentEndsBeforeBegin
from campshub.students.service.occupancy import Days, Occupancy, days_of

OUTCOMES = ("created", "unchanged", "error")
# The properties that name the student and the group of a row, with their columns.
STUDENT_KEYS = {"student_id": Student.id, "student_code": Student.code, "student_external_id": Student.external_id}
GROUP_KEYS = {"group_id": Group.id, "group_code": Group.code, "group_external_id": Group.external_id}
_CONSTRAINED = ("active", "completed")


@dataclass
class EnrolmentRow:
    """A row of the request body, with its result."""

    index: int
    given: dict[str, Any]
    errors: list[FieldError]
    outcome: str = "error"
    enrolment_id: UUID | None = None
    # The columns of the enrolment; its student and group are found.
    values: dict[str, Any] = field(default_factory=dict)
    fingerprint: bytes = b""

    @property
    def days(self) -> Days:
        """The days of the enrolment."""
        return days_of(self.values["begins_on"], self.values["ends_on"])

    def refuse(self, pointer: str, code: str, detail: str) -> None:
        """Make the row an error."""
        self.errors = [FieldError(pointer, code, detail)]

    def result(self) -> dict[str, Any]:
        """Return the result of the row."""
        found = {name: self.values.get(name) for name in ("student_id", "group_id")}
        return {"index": self.index, "outcome": self.outcome, "id": self.enrolment_id, **found, "errors": self.errors}


@dataclass
class KnownEnrolments:
    """What is there before the rows are written; accepted rows are added to it."""

    students: Mapping[tuple[str, Any], AnyRow]
    groups: Mapping[tuple[str, Any], AnyRow]
    by_id: dict[UUID, AnyRow | EnrolmentRow] = field(default_factory=dict)
    # The enrolments of a student in a group, and how full each limited group is.
    of_pair: dict[tuple[UUID, UUID], list[Any]] = field(default_factory=dict)
    occupancy: dict[UUID, Occupancy] = field(default_factory=dict)


def enrol_many(
    session: Session, principal: Principal, *, enrolments: Sequence[GivenRow], dry_run: bool, today: date
) -> dict[str, Any]:
    """Enrol many students.

    The groups are locked in the order of their ids, so that their last places are assigned once and concurrent calls
    cannot deadlock. A row without an id that is exactly an existing enrolment is ``unchanged``.

    :param dry_run: return the results without enrolling anyone.
    """
    lines = [EnrolmentRow(index, dict(row.values or {}), list(row.errors)) for index, row in enumerate(enrolments)]
    valid = [line for line in lines if not line.errors]
    known = KnownEnrolments(
        _by_keys(session.execute(_students(principal, valid)) if valid else (), STUDENT_KEYS),
        _by_keys(session.execute(_locked_groups(principal, valid)) if valid else (), GROUP_KEYS),
    )
    for line in valid:
        _resolve(line, known)
    _read_present(session, principal, [line for line in valid if not line.errors], known)
    for line in valid:
        if not line.errors:
            _settle(line, known, today)
    new = [line for line in valid if line.outcome == "created"]
    if dry_run:
        for line in new:
            line.enrolment_id = None
    else:
        _insert(session, new)
    outcomes = [line.outcome for line in lines]
    return {
        "results": [line.result() for line in lines],
        "summary": {outcome: outcomes.count(outcome) for outcome in OUTCOMES},
        "dry_run": dry_run,
    }


def _insert(session: Session, new: Sequence[EnrolmentRow]) -> None:
    rows = [{**line.values, "id": line.enrolment_id, "fingerprint": line.fingerprint} for line in new]
    written = {row.id for row in writes.insert(session, Enrolment, rows, on_conflict="DO NOTHING")}
    for line in new:
        if line.enrolment_id not in written:
            line.outcome, line.enrolment_id = "error", None
            line.refuse("", "conflict", "Changed by another request at the same moment; send it again.")


def _wanted(keys: Mapping[str, Any], lines: Sequence[EnrolmentRow]) -> Any:
    """Return the condition that a row has one of the keys."""
    given = {name: {line.given[name] for line in lines if name in line.given} for name in keys}
    return or_(*(_among(column, given[name]) for name, column in keys.items() if given[name]))


def _among(column: Any, values: Collection[Any]) -> ColumnElement[bool]:
    """Return the condition that a column has one of many values, with one parameter for all of them."""
    found: ColumnElement[bool] = column == any_(literal(list(values), ARRAY(column.type)))
    return found


def _by_keys(rows: Any, keys: Mapping[str, Any]) -> dict[tuple[str, Any], AnyRow]:
    return {(name, getattr(row, column.key)): row for row in rows for name, column in keys.items()}


def _students(principal: Principal, lines: Sequence[EnrolmentRow]) -> Any:
    return select(Student.id, Student.code, Student.external_id, Student.left_on).where(
        visible_to(principal, Student), Student.deleted_at.is_(None), _wanted(STUDENT_KEYS, lines)
    )


def _locked_groups(principal: Principal, lines: Sequence[EnrolmentRow]) -> Any:
    columns = (Group.id, Group.code, Group.external_id, Group.status, Group.capacity, Group.begins_on, Group.ends_on)
    return (
        select(*columns)
        .where(visible_to(principal, Group), Group.deleted_at.is_(None), _wanted(GROUP_KEYS, lines))
        .order_by(Group.id)
        .with_for_update(of=Group)
    )


def _resolve(line: EnrolmentRow, known: KnownEnrolments) -> None:
    """Find the student and the group of a row."""
    values = {name: line.given.get(name) for name in ("begins_on", "ends_on", "status")}
    for found, keys, column in ((known.students, STUDENT_KEYS, "student_id"), (known.groups, GROUP_KEYS, "group_id")):
        name = next(name for name in keys if name in line.given)
        row = found.get((name, line.given[name]))
        if row is None:
            line.refuse(f"/{name}", UnknownReference.code, f"No such {column.removesuffix('_id')}.")
            return
        values[column] = row.id
    line.values = values
    line.fingerprint = fingerprint(values)


def _read_present(
    session: Session, principal: Principal, lines: Sequence[EnrolmentRow], known: KnownEnrolments
) -> None:
    """Read the enrolments that decide about the rows, with one statement."""
    if not lines:
        return
    groups = {row.id: row for row in known.groups.values()}
    used = {line.values["group_id"] for line in lines}
    limited = {group_id for group_id in used if groups[group_id].capacity is not None}
    first_date = min(line.values["begins_on"] for line in lines)
    ids = {line.given["id"] for line in lines if line.given.get("id") is not None}
    students = {line.values["student_id"] for line in lines}
    of_pairs = and_(_among(Enrolment.student_id, students), _among(Enrolment.group_id, used))
    in_limited = and_(
        _among(Enrolment.group_id, limited),
        Enrolment.status.in_(COUNTED),
        or_(Enrolment.ends_on.is_(None), Enrolment.ends_on >= first_date),
    )
    columns = (Enrolment.id, Enrolment.student_id, Enrolment.group_id, Enrolment.begins_on, Enrolment.ends_on)
    seen = visible_to(principal, Enrolment).label("is_seen")
    found = session.execute(
        select(*columns, Enrolment.status, Enrolment.fingerprint, Student.left_on, Student.deleted_at, seen)
        .join(Student, and_(Student.organization_id == Enrolment.organization_id, Student.id == Enrolment.student_id))
        .where(Enrolment.organization_id == principal.organization_id)
        .where(or_(_among(Enrolment.id, ids), of_pairs, in_limited))
    )
    known.occupancy = {group_id: Occupancy() for group_id in limited}
    for row in found:
        known.by_id[row.id] = row
        known.of_pair.setdefault((row.student_id, row.group_id), []).append(row)
        if row.group_id in limited and row.status in COUNTED and row.deleted_at is None:
            last = min((day for day in (row.ends_on, row.left_on) if day is not None), default=None)
            known.occupancy[row.group_id].add(row.student_id, days_of(row.begins_on, last))


def _settle(line: EnrolmentRow, known: KnownEnrolments, today: date) -> None:
    """Decide the outcome of a row."""
    values, given_id = line.values, line.given.get("id")
    pair = values["student_id"], values["group_id"]
    holder = known.by_id.get(given_id) if given_id is not None else None
    same = holder if holder is not None and holder.fingerprint == line.fingerprint else _same(line, known)
    if isinstance(same, EnrolmentRow) or (same is not None and same.is_seen):
        line.outcome = "unchanged"
        line.enrolment_id = same.enrolment_id if isinstance(same, EnrolmentRow) else same.id
        return
    if holder is not None:
        line.refuse("/id", IdTaken.code, IdTaken.default_detail)
        return
    _check(line, known, today)
    if line.errors:
        return
    line.outcome, line.enrolment_id = "created", given_id or new_id()
    known.by_id[line.enrolment_id] = line
    known.of_pair.setdefault(pair, []).append(line)
    if values["status"] in COUNTED and values["group_id"] in known.occupancy:
        left_on = known.students["student_id", values["student_id"]].left_on
        last = min((day for day in (values["ends_on"], left_on) if day is not None), default=None)
        known.occupancy[values["group_id"]].add(values["student_id"], days_of(values["begins_on"], last))


def _same(line: EnrolmentRow, known: KnownEnrolments) -> Any:
    """Return the enrolment that a row without an id repeats."""
    if line.given.get("id") is not None:
        return None
    names = ("begins_on", "ends_on", "status")
    for other in known.of_pair.get((line.values["student_id"], line.values["group_id"]), ()):
        found = other.values if isinstance(other, EnrolmentRow) else other._mapping  # noqa: SLF001 - SQLAlchemy's public name for it
        if all(found[name] == line.values[name] for name in names):
            return other
    return None


def _check(line: EnrolmentRow, known: KnownEnrolments, today: date) -> None:
    """Apply the rules of one enrolment: its dates, the group's state and term, its capacity, other enrolments."""
    values = line.values
    group = known.groups["group_id", values["group_id"]]
    if values["ends_on"] is not None and values["ends_on"] < values["begins_on"]:
        line.errors = list(EnrolmentEndsBeforeBegin().errors)
        return
    dates = {"/begins_on": values["begins_on"], "/ends_on": values["ends_on"] or max(values["begins_on"], today)}
    try:
        places.require_open(group, dates)
    except places.GroupClosed as refusal:
        line.errors = list(refusal.errors) or [FieldError("", refusal.code, refusal.detail)]
        return
    taken = known.occupancy.get(values["group_id"]) if values["status"] in COUNTED else None
    if taken is not None and taken.most_others(values["student_id"], line.days) >= group.capacity:
        line.refuse("", places.GroupFull.code, places.GroupFull.default_detail)
        return
    others = known.of_pair.get((values["student_id"], values["group_id"]), ())
    if values["status"] in _CONSTRAINED and any(_overlaps(line.days, other) for other in others):
        line.refuse("", AlreadyEnrolled.code, AlreadyEnrolled.default_detail)


def _overlaps(days: Days, other: Any) -> bool:
    """Return whether another enrolment of the pair excludes some days; the last day of a completed one is free."""
    found = other.values if isinstance(other, EnrolmentRow) else other._mapping  # noqa: SLF001 - SQLAlchemy's public name for it
    if found["status"] not in _CONSTRAINED:
        return False
    begin, end = days_of(found["begins_on"], found["ends_on"])
    end -= found["status"] == "completed"
    return begin < end and days[0] < end and begin < days[1]
