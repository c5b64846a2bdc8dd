"""Define, change and delete the custom fields of students."""

from collections.abc import Iterable
from typing import Any, TypedDict, Unpack
from uuid import UUID

from sqlalchemy import ColumnElement, func, literal, or_, select
from sqlalchemy.dialects.postgresql import JSONB

from campshub.core.db import creates
from campshub.core.db.session import Session
from campshub.core.db.writes import Versions, lock
from campshub.core.errors import Conflict, Invalid
from campshub.core.security.principal import Principal
from campshub.students.models import CustomField, Student
from campshub.students.values import MOST_FIELDS

_WITH_CHOICES = ("choice", "multiple_choice")


class CustomFieldKeyTaken(Conflict):
    """Another custom field has this key."""

    code = "key_taken"
    default_detail = "Another custom field has this key."
    constraint = "uq_custom_fields_key"
    pointer = "/key"


class CustomFieldInUse(Conflict):
    """Students have values of this field."""

    code = "custom_field_in_use"
    default_detail = "Students have values of this field; archive it instead, or remove the values first."


class ChoiceInUse(Conflict):
    """Students have a choice that would be removed."""

    code = "choice_in_use"
    default_detail = "Students have a choice that would be removed."
    pointer = "/choices"


class ChoicesExpected(Invalid):
    """The type needs choices, or has none."""

    code = "choices"
    default_detail = "A field of the types choice and multiple_choice needs choices; other types have none."
    constraint = "ck_custom_fields_choices"
    pointer = "/choices"


class TooManyCustomFields(Conflict):
    """The organization has as many custom fields as it may have."""

    code = "too_many_custom_fields"
    default_detail = f"An organization may have {MOST_FIELDS} custom fields, archived ones among them."


CUSTOM_FIELDS = creates.Collection(
    CustomField,
    "/api/students/custom-fields/{row.id}/",
    (creates.unique(CustomFieldKeyTaken, CustomField.key),),
)


class _CustomFieldFields(TypedDict, total=False):
    """Fields common to creating and changing a custom field."""

    is_required: bool
    choices: list[str]
    visible_to: list[str]
    is_personal: bool
    position: int
    is_archived: bool


class NewCustomField(_CustomFieldFields):
    """The fields of a new custom field."""

    key: str
    label: str
    type: str


class CustomFieldChanges(_CustomFieldFields, total=False):
    """Fields of a custom field that a change may have."""

    label: str
    type: str


def create(
    session: Session, principal: Principal, *, id: UUID | None = None, **values: Unpack[NewCustomField]
) -> tuple[CustomField, bool]:
    """Define a custom field; return it, and False if an earlier, identical call has defined it.

    :raises IdTaken: the id belongs to a field with other content.
    :raises CustomFieldKeyTaken: another field has the key.
    :raises ChoicesExpected: the type needs choices, or has none.
    :raises TooManyCustomFields: the organization has as many as it may have.
    """
    _require_choices(values["type"], values.get("choices", []))
    field, is_new = creates.create(session, principal, CUSTOM_FIELDS, id=id, body=values)
    if is_new:
        own = CustomField.organization_id == principal.organization_id
        if (session.scalar(select(func.count()).select_from(CustomField).where(own)) or 0) > MOST_FIELDS:
            raise TooManyCustomFields
    return field, is_new


def change(
    session: Session,
    principal: Principal,
    *,
    custom_field_id: UUID,
    expected: Versions,
    **changes: Unpack[CustomFieldChanges],
) -> CustomField:
    """Change a custom field.

    The row's lock waits for students who are being written with the old definition, so no value is overlooked.

    :raises NotFound: the principal sees no such field.
    :raises PreconditionFailed: it has changed since the caller read it.
    :raises CustomFieldInUse: its type would change, and students have values.
    :raises ChoiceInUse: students have a choice that would be removed.
    :raises ChoicesExpected: the type needs choices, or has none.
    """
    field = lock(session, principal, CustomField, custom_field_id, expected=expected)
    new_type, choices = changes.get("type", field.type), changes.get("choices", field.choices)
    if new_type not in _WITH_CHOICES and "choices" not in changes:
        changes["choices"] = choices = []
    _require_choices(new_type, choices)
    if new_type != field.type and _is_used(session, principal, [Student.custom_fields.has_key(field.key)]):
        raise CustomFieldInUse(present={"id": field.id, "version": field.version})
    removed = [choice for choice in field.choices if choice not in choices]
    if removed and new_type == field.type and _is_used(session, principal, _holding(field, removed)):
        raise ChoiceInUse(present={"id": field.id, "version": field.version})
    for name, value in changes.items():
        setattr(field, name, value)
    session.flush()
    return field


def delete(session: Session, principal: Principal, *, custom_field_id: UUID, expected: Versions) -> None:
    """Delete a custom field that no student has a value of.

    :raises NotFound: the principal sees no such field.
    :raises CustomFieldInUse: students have values.
    """
    field = lock(session, principal, CustomField, custom_field_id, expected=expected)
    if _is_used(session, principal, [Student.custom_fields.has_key(field.key)]):
        raise CustomFieldInUse(present={"id": field.id, "version": field.version})
    session.delete(field)


def _require_choices(field_type: str, choices: list[str]) -> None:
    if (field_type in _WITH_CHOICES) != bool(choices):
        raise ChoicesExpected


def _holding(field: CustomField, choices: list[str]) -> list[ColumnElement[bool]]:
    """Return the conditions that a student has one of the choices."""
    is_list = field.type == "multiple_choice"
    return [
        Student.custom_fields.contains(literal({field.key: [choice] if is_list else choice}, JSONB))
        for choice in choices
    ]


def _is_used(session: Session, principal: Principal, conditions: Iterable[Any]) -> bool:
    """Return whether a student of the organization, deleted or not, meets one of the conditions."""
    own = Student.organization_id == principal.organization_id
    return session.scalar(select(Student.id).where(own, or_(*conditions)).limit(1)) is not None
