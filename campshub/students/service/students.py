"""Create, change and delete one student."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, Required, TypedDict, Unpack
from uuid import UUID

from campshub.core.db import creates
from campshub.core.db.models import new_id
from campshub.core.db.session import Session
from campshub.core.db.unit_of_work import in_separate_transaction, record_audit
from campshub.core.db.writes import Versions, lock
from campshub.core.errors import Conflict, Forbidden, Invalid
from campshub.core.jobs.store import enqueue
from campshub.core.security.audit import Change
from campshub.core.security.encrypted_columns import encryption_context
from campshub.core.security.permissions import Permission
from campshub.core.security.principal import Principal
from campshub.core.service_base import Services
from campshub.students import names
from campshub.students.models import Student
from campshub.students.queries import students as reads
from campshub.students.service import custom_values, guardian_links


class CodeTaken(Conflict):
    """Another student has this code."""

    code = "code_taken"
    default_detail = "Another student has this code."
    constraint = "uq_students_code"
    pointer = "/code"


class StudentExternalIdTaken(Conflict):
    """Another student has this external id."""

    code = "external_id_taken"
    default_detail = "Another student has this external id."
    constraint = "uq_students_external_id"
    pointer = "/external_id"


class LoginTaken(Conflict):
    """This login belongs to another student."""

    code = "login_taken"
    default_detail = "This login belongs to another student."
    constraint = "uq_students_user_id"
    pointer = "/user_id"


STUDENTS = creates.Collection(
    Student,
    "/api/students/{row.id}/",
    (
        creates.unique(CodeTaken, Student.code),
        creates.unique(StudentExternalIdTaken, Student.external_id),
        creates.unique(LoginTaken, Student.user_id),
    ),
    is_blind=True,
)


class UnknownLogin(Invalid):
    """No user with this id belongs to the organization."""

    code = "unknown_reference"
    default_detail = "No user with this id belongs to the organization."
    constraint = "fk_students_user_id"
    pointer = "/user_id"


class NoName(Invalid):
    """A student needs a given name, a family name, or both."""

    code = "required"
    default_detail = "A student needs a given name, a family name, or both."
    constraint = "ck_students_named"
    pointer = "/given_name"


class LeftBeforeJoined(Invalid):
    """A student cannot leave before they joined."""

    code = "left_before_joined"
    default_detail = "A student cannot leave before they joined."
    constraint = "ck_students_left_after_joined"
    pointer = "/left_on"


class BornInFuture(Invalid):
    """The date of birth is in the future in the organization's time zone."""

    code = "in_future"
    default_detail = "The date of birth is in the future in the organization's time zone."
    pointer = "/date_of_birth"


class _StudentFields(TypedDict, total=False):
    """Fields of a student that a change may have, without the external id."""

    code: str
    user_id: UUID | None
    given_name: str
    family_name: str
    preferred_name: str | None
    date_of_birth: date | None
    gender: str | None
    email: str | None
    phone: str | None
    address: dict[str, Any] | None
    emergency_contacts: list[dict[str, Any]]
    guardians: list[dict[str, Any]]
    tags: list[str]
    custom_fields: dict[str, Any]
    status: str
    joined_on: date | None
    left_on: date | None
    medical_note: str | None


class StudentChanges(_StudentFields, total=False):
    """Fields of a student that a change may have."""

    external_id: str | None


class ExternalStudent(_StudentFields, total=False):
    """Fields of a student whom another system knows by an external id."""

    id: UUID


class NewStudent(TypedDict, total=False):
    """The fields of a new student."""

    code: Required[str]
    external_id: str | None
    user_id: UUID | None
    given_name: Required[str]
    family_name: Required[str]
    preferred_name: str | None
    date_of_birth: date | None
    gender: str | None
    email: str | None
    phone: str | None
    address: dict[str, Any] | None
    emergency_contacts: Required[list[dict[str, Any]]]
    guardians: Required[list[dict[str, Any]]]
    tags: Required[list[str]]
    custom_fields: dict[str, Any]
    status: str
    joined_on: date | None
    left_on: date | None
    medical_note: str | None


def create(
    session: Session, principal: Principal, services: Services, *, id: UUID | None = None, **values: Unpack[NewStudent]
) -> tuple[Student, bool]:
    """Create a student with links to their guardians; return them, and False if an identical call has created them.

    :raises IdTaken: the id belongs to a student with other content.
    :raises CodeTaken: another student has the code.
    :raises Invalid: a value is not one of its custom field's type, or a required field has none.
    :raises BornInFuture: the date of birth is later than today.
    :raises UnknownReference: the principal sees no such guardian.
    """
    guardian_links.require_valid(session, principal, values["guardians"])
    student_id = id or new_id()  # the medical note is encrypted for it
    body = without_empty_fields(values)
    row, key = new_row(principal, services, student_id, values), services.fingerprint_key
    row["custom_fields"] = custom_values.required(session, principal, values.get("custom_fields") or {})
    student, is_new = creates.create(session, principal, STUDENTS, id=student_id, body=body, row=row, key=key)
    if is_new and is_unborn(values, principal.today(session.unit.now)):
        raise BornInFuture
    if is_new:
        guardian_links.link_new(session, principal, {student_id: values["guardians"]})
    return student, is_new


def without_empty_fields(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body of a create; no values of custom fields are the same as an omitted property."""
    has_values = any(value is not None for value in (values.get("custom_fields") or {}).values())
    return {name: value for name, value in values.items() if has_values or name != "custom_fields"}


def is_unborn(values: Mapping[str, Any], today: date) -> bool:
    """Return whether a date of birth is later than today."""
    born: date | None = values.get("date_of_birth")
    return born is not None and born > today


def change(
    session: Session,
    principal: Principal,
    services: Services,
    *,
    student_id: UUID,
    expected: Versions,
    **given: Unpack[StudentChanges],
) -> Student:
    """Change a student.

    :raises NotFound: the principal sees no such student.
    :raises PreconditionFailed: they have changed since the caller read them.
    :raises CodeTaken: another student has the code.
    :raises NoName: both names would be empty.
    :raises Invalid: a value is not one of its custom field's type.
    :raises BornInFuture: the date of birth is later than today.
    :raises UnknownReference: the principal sees no such guardian.
    """
    if is_unborn(given, principal.today(session.unit.now)):
        raise BornInFuture
    student = lock(session, principal, Student, student_id, Student.deleted_at.is_(None), expected=expected)
    if not given:  # even if an older release has folded the name differently
        return student
    changes: dict[str, Any] = {name: value for name, value in given.items() if name != "guardians"}
    if "custom_fields" in given:
        changes["custom_fields"] = custom_values.changed(
            session, principal, student.custom_fields, given["custom_fields"]
        )
    if "medical_note" in given:
        changes["medical_note"] = _encrypted_note(principal, services, student.id, given["medical_note"])
    for name, value in changes.items():
        setattr(student, name, value)
    if not student.given_name and not student.family_name:
        raise NoName
    _set_keys(student)
    creates.flush(session, principal, STUDENTS, student)
    if "guardians" in given:
        guardian_links.set_guardians(session, principal, student, given["guardians"])
    return _freeing_places(session, student, has_left=given.get("left_on") is not None)


def _set_keys(student: Student) -> None:
    """Set the sort and search keys that follow from the names."""
    student.sort_name = names.sort_name(student.given_name, student.family_name)
    student.search_text = names.search_text(
        student.code, student.given_name, student.family_name, student.preferred_name
    )


def set_guardians(
    session: Session, principal: Principal, *, student_id: UUID, expected: Versions, guardians: list[dict[str, Any]]
) -> Student:
    """Replace the guardians of a student.

    :raises NotFound: the principal sees no such student.
    :raises PreconditionFailed: the student, or one of their links, has changed since the caller read them.
    :raises UnknownReference: the principal sees no such guardian.
    """
    student = lock(session, principal, Student, student_id, Student.deleted_at.is_(None), expected=expected)
    guardian_links.set_guardians(session, principal, student, guardians)
    return student


def _freeing_places(session: Session, student: Student, *, has_left: bool) -> Student:
    """Let those on waiting lists have the places of a student who has left; return the student."""
    if has_left:
        enqueue(session, "students.promote_waiting", student_id=str(student.id))
    return student


def delete(session: Session, principal: Principal, *, student_id: UUID, expected: Versions, now: datetime) -> None:
    """Mark a student as deleted; rows that refer to them stay, and ``undelete`` reverts it.

    :raises NotFound: the principal sees no such student.
    """
    student = lock(session, principal, Student, student_id, Student.deleted_at.is_(None), expected=expected)
    student.deleted_at = now
    _freeing_places(session, student, has_left=True)


def undelete(session: Session, principal: Principal, *, student_id: UUID) -> Student:
    """Undelete a student; this does nothing for one who is not deleted.

    :raises NotFound: the principal sees no such student.
    """
    student = lock(session, principal, Student, student_id)
    student.deleted_at = None
    session.flush()
    return student


def read_medical_note(
    session: Session, principal: Principal, services: Services, *, student_id: UUID
) -> dict[str, Any]:
    """Return a student's medical note; the audit log records the read.

    :raises NotFound: the principal sees no such student.
    """
    sealed = reads.medical_note_of(session, principal, student_id)

    def record(separate: Session) -> None:
        record_audit(
            separate, Change("read", "students", student_id, student_id, None, {"field": "medical_note"}, frozenset())
        )

    in_separate_transaction(session, record)
    if sealed is None:
        return {"student_id": student_id, "medical_note": None}
    plain = services.ring.open(sealed.decode(), context=_note_context(principal, student_id))
    return {"student_id": student_id, "medical_note": plain.decode()}


def new_row(principal: Principal, services: Services, student_id: UUID, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row of a new student."""
    note = values.get("medical_note")
    return {
        **{name: value for name, value in values.items() if name != "guardians"},
        "id": student_id,
        "medical_note": _encrypted_note(principal, services, student_id, note) if note else None,
        "sort_name": names.sort_name(values["given_name"], values["family_name"]),
        "search_text": names.search_text(
            values["code"], values["given_name"], values["family_name"], values.get("preferred_name")
        ),
    }


def _encrypted_note(principal: Principal, services: Services, student_id: UUID, note: str | None) -> bytes | None:
    """Encrypt a medical note for its row.

    :raises Forbidden: the principal may not write medical notes.
    """
    if not principal.may(Permission.MEDICAL_WRITE):
        raise Forbidden("Your role does not allow you to write medical notes.")
    return services.ring.seal(note.encode(), context=_note_context(principal, student_id)).encode() if note else None


def changed_note(
    principal: Principal, services: Services, student_id: UUID, *, present: bytes | None, note: str | None
) -> bytes | None:
    """Return an encrypted medical note for a student's row: the present value, if the note is the same.

    :raises Forbidden: the principal may not write medical notes.
    """
    encrypted = _encrypted_note(principal, services, student_id, note)
    if present is None or encrypted is None:
        return encrypted
    context = _note_context(principal, student_id)
    return present if services.ring.open(present.decode(), context=context).decode() == note else encrypted


def _note_context(principal: Principal, student_id: UUID) -> str:
    return encryption_context(Student.medical_note, organization_id=principal.organization_id, id=student_id)
