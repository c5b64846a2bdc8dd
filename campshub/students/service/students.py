"""Creating, changing, deleting students, one or many."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import or_, select

from campshub.accounts.models import Membership
from campshub.core.db import writes
from campshub.core.db.base import new_id
from campshub.core.db.prints import fingerprint
from campshub.core.db.rows import lock, retried
from campshub.core.db.session import Session
from campshub.core.db.work import record_apart, tell
from campshub.core.http.conditional import Versions
from campshub.core.http.problems import Conflict, FieldError, Forbidden, Invalid
from campshub.core.http.rows import GivenRow
from campshub.core.platform import Platform
from campshub.core.security.audit import Change
from campshub.core.security.permissions import Permission
from campshub.core.security.principal import Principal, visible_to
from campshub.core.security.sealed import place_of
from campshub.students import names
from campshub.students.models import Student
from campshub.students.queries import students as reads

# What no two students of an organization share.
_KEYS = ("id", "code", "external_id", "user_id")


class CodeTaken(Conflict):
    """Another student has this code."""

    code = "code_taken"
    constraint = "uq_students_code"
    pointer = "/code"


class ExternalIdTaken(Conflict):
    """Another student has this external id."""

    code = "external_id_taken"
    constraint = "uq_students_external_id"
    pointer = "/external_id"


class LoginTaken(Conflict):
    """This login belongs to another student."""

    code = "login_taken"
    constraint = "uq_students_user_id"
    pointer = "/user_id"


class UnknownLogin(Invalid):
    """No user with this id belongs to the organization."""

    code = "unknown_reference"
    constraint = "fk_students_user_id"
    pointer = "/user_id"


class NoName(Invalid):
    """A student needs a given name, a family name, or both."""

    code = "required"
    constraint = "ck_students_named"
    pointer = "/given_name"


class LeftBeforeJoined(Invalid):
    """A student cannot leave before they joined."""

    code = "left_before_joined"
    constraint = "ck_students_left_after_joined"
    pointer = "/left_on"


class BornInFuture(Invalid):
    """A date of birth lies in the future, by the organization's calendar."""

    code = "in_future"
    pointer = "/date_of_birth"


def create(
    session: Session, principal: Principal, platform: Platform, *, id: UUID | None = None, **values: Any
) -> tuple[Student, bool]:
    """Create a student; return them, and whether they are new rather than made by an earlier, identical call.

    :raises IdTaken: the id belongs to a student who was created from something else.
    :raises CodeTaken: another student has the code.
    :raises BornInFuture: the date of birth is later than today.
    """
    print_ = fingerprint(values, key=platform.print_key)
    present = retried(session, principal, Student, id, print_)
    if present is not None:
        return present, False
    if _unborn(session, principal, values):
        raise BornInFuture
    student = Student(**_row(principal, platform, id or new_id(), values), fingerprint=print_)
    session.add(student)
    session.flush()
    return student, True


def create_many(
    session: Session, principal: Principal, platform: Platform, *, students: Sequence[GivenRow]
) -> dict[str, Any]:
    """Create many students with one statement; each row answers for itself, and a bad one spoils no other."""
    readable = [row.values for row in students if row.values is not None]
    present = _present(session, principal, readable)
    logins = _known_logins(session, principal, readable)
    seen: set[tuple[str, Any]] = set()
    results: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for index, given in enumerate(students):
        values = dict(given.values or {})
        row_id = values.pop("id", None) or new_id()
        print_ = fingerprint(values, key=platform.print_key)
        is_retry = given.values is not None and present.get(("id", row_id)) == print_
        unborn = [] if is_retry else _unborn(session, principal, values)
        errors = given.errors or unborn or ([] if is_retry else _taken({**values, "id": row_id}, present, seen, logins))
        outcome = "error" if errors else "unchanged" if is_retry else "created"
        results.append({"index": index, "outcome": outcome, "id": row_id if given.values else None, "errors": errors})
        if outcome == "created":
            rows.append({**_row(principal, platform, row_id, values), "fingerprint": print_})
    made = {row.id for row in writes.insert(session, Student, rows, on_conflict="DO NOTHING")}
    for result in results:
        if result["outcome"] == "created" and result["id"] not in made:
            result["outcome"] = "error"
            result["errors"] = [FieldError("", "conflict", "Created by someone else at the same moment.")]
    return {"results": results, "summary": _summary(results)}


def _unborn(session: Session, principal: Principal, values: dict[str, Any]) -> list[FieldError]:
    """Return the refusal of a date of birth that is later than today, by the organization's calendar."""
    born: date | None = values.get("date_of_birth")
    is_unborn = born is not None and born > principal.today(session.unit.now)
    return BornInFuture().errors if is_unborn else []


def _taken(
    values: dict[str, Any],
    present: dict[tuple[str, Any], bytes | None],
    seen: set[tuple[str, Any]],
    logins: set[UUID | None],
) -> list[FieldError]:
    """Return what of a row belongs to another student, there or in an earlier row; else note it as this row's."""
    if values.get("user_id") not in logins:
        return [FieldError("/user_id", UnknownLogin.code, UnknownLogin().detail)]
    keys = {(name, value) for name in _KEYS if (value := values.get(name)) is not None}
    taken = sorted(name for name, value in keys if (name, value) in seen or (name, value) in present)
    if not taken:
        seen |= keys
    return [FieldError(f"/{name}", f"{name}_taken", "It belongs to another student.") for name in taken]


def _present(
    session: Session, principal: Principal, given: Sequence[dict[str, Any]]
) -> dict[tuple[str, Any], bytes | None]:
    """Return the ids, codes, external ids and logins among the given ones that are taken, with their fingerprints."""
    wanted = {name: [value for values in given if (value := values.get(name)) is not None] for name in _KEYS}
    if not any(wanted.values()):
        return {}
    found = session.execute(
        select(*(getattr(Student, name) for name in _KEYS), Student.fingerprint).where(
            Student.organization_id == principal.organization_id,
            or_(*(getattr(Student, name).in_(values) for name, values in wanted.items() if values)),
        )
    )
    return {(name, getattr(row, name)): row.fingerprint for row in found for name in _KEYS}


def _known_logins(session: Session, principal: Principal, given: Sequence[dict[str, Any]]) -> set[UUID | None]:
    """Return the logins among the given ones that belong to the organization, and none."""
    wanted = {values.get("user_id") for values in given} - {None}
    if not wanted:
        return {None}
    found = select(Membership.user_id).where(visible_to(principal, Membership), Membership.user_id.in_(wanted))
    return {None, *session.scalars(found)}


def _summary(results: Sequence[dict[str, Any]]) -> dict[str, int]:
    outcomes = [result["outcome"] for result in results]
    return {outcome: outcomes.count(outcome) for outcome in ("created", "unchanged", "error")}


def change(
    session: Session,
    principal: Principal,
    platform: Platform,
    *,
    student_id: UUID,
    expected: Versions,
    **changes: Any,
) -> Student:
    """Change a student.

    :raises NotFound: the principal sees no such student.
    :raises PreconditionFailed: they have changed since the caller read them.
    :raises CodeTaken: another student has the code.
    :raises NoName: neither of the names would be left.
    :raises BornInFuture: the date of birth is later than today.
    """
    if _unborn(session, principal, changes):
        raise BornInFuture
    student = lock(session, principal, Student, student_id, Student.deleted_at.is_(None), expected=expected)
    if not changes:  # also where an older version has folded the name in another way
        return student
    if "medical_note" in changes:
        changes["medical_note"] = _sealed_note(principal, platform, student.id, changes["medical_note"])
    for name, value in changes.items():
        setattr(student, name, value)
    if not student.given_name and not student.family_name:
        raise NoName
    student.sort_name = names.sort_name(student.given_name, student.family_name)
    student.search_text = names.search_text(
        student.code, student.given_name, student.family_name, student.preferred_name
    )
    session.flush()
    return student


def delete(session: Session, principal: Principal, *, student_id: UUID, expected: Versions, now: datetime) -> None:
    """Delete a student, keeping all that refers to them; ``undelete`` brings them back.

    :raises NotFound: the principal sees no such student.
    """
    student = lock(session, principal, Student, student_id, Student.deleted_at.is_(None), expected=expected)
    student.deleted_at = now


def undelete(session: Session, principal: Principal, *, student_id: UUID) -> Student:
    """Bring a deleted student back; one who is not deleted stays as they are.

    :raises NotFound: the principal sees no such student.
    """
    student = lock(session, principal, Student, student_id)
    student.deleted_at = None
    session.flush()
    return student


def read_medical_note(
    session: Session, principal: Principal, platform: Platform, *, student_id: UUID
) -> dict[str, Any]:
    """Return a student's medical note; that it was read is recorded.

    :raises NotFound: the principal sees no such student.
    """
    sealed = reads.medical_note_of(session, principal, student_id)

    def record(apart: Session) -> None:
        tell(apart, Change("read", "students", student_id, student_id, None, {"field": "medical_note"}, frozenset()))

    record_apart(session, record)
    if sealed is None:
        return {"student_id": student_id, "medical_note": None}
    plain = platform.ring.open(sealed.decode(), context=_note_context(principal, student_id))
    return {"student_id": student_id, "medical_note": plain.decode()}


def _row(principal: Principal, platform: Platform, student_id: UUID, values: dict[str, Any]) -> dict[str, Any]:
    note = values.get("medical_note")
    return {
        **values,
        "id": student_id,
        "medical_note": _sealed_note(principal, platform, student_id, note) if note else None,
        "sort_name": names.sort_name(values["given_name"], values["family_name"]),
        "search_text": names.search_text(
            values["code"], values["given_name"], values["family_name"], values.get("preferred_name")
        ),
    }


def _sealed_note(principal: Principal, platform: Platform, student_id: UUID, note: str | None) -> bytes | None:
    """Seal a medical note for its row.

    :raises Forbidden: the principal may not write medical notes.
    """
    if not principal.may(Permission.MEDICAL_WRITE):
        raise Forbidden("Your role does not allow you to write medical notes.")
    return platform.ring.seal(note.encode(), context=_note_context(principal, student_id)).encode() if note else None


def _note_context(principal: Principal, student_id: UUID) -> str:
    return place_of(Student.medical_note, organization_id=principal.organization_id, id=student_id)
