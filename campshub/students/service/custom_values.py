"""Check the values of custom fields that a caller sends for students."""

from collections.abc import Mapping
from typing import Any

from campshub.core.db.session import Session
from campshub.core.errors import FieldError, Invalid
from campshub.core.http.schemas.messages import step_to
from campshub.core.security.principal import Principal
from campshub.students.queries import custom_fields as reads
from campshub.students.values import Definition, Unreadable, checked_value

_POINTER = "/custom_fields"


def required(session: Session, principal: Principal, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a new student.

    :raises Invalid: a value is wrong, or a required field that the principal sees has none.
    """
    values, errors = for_create(reads.definitions_for_writing(session, principal), given)
    if errors:
        raise Invalid.of(errors)
    return values


def changed(
    session: Session, principal: Principal, present: Mapping[str, Any], given: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a student's values after a change; fields that are not given keep theirs, null removes one.

    :raises Invalid: a value is wrong, or a required field would lose its value.
    """
    if not given:
        return dict(present)
    values, errors = for_change(reads.definitions_for_writing(session, principal), present, given)
    if errors:
        raise Invalid.of(errors)
    return values


def for_create(
    definitions: Mapping[str, Definition], given: Mapping[str, Any]
) -> tuple[dict[str, Any], list[FieldError]]:
    """Return the values of a new student, and the errors."""
    values, errors = _checked(definitions, given)
    wrong = {error.pointer for error in errors}
    for key, definition in definitions.items():
        pointer = _POINTER + step_to(key)
        if definition.is_required and values.get(key) is None and pointer not in wrong:
            errors.append(_missing(pointer))
    return {key: value for key, value in values.items() if value is not None}, errors


def for_change(
    definitions: Mapping[str, Definition], present: Mapping[str, Any], given: Mapping[str, Any]
) -> tuple[dict[str, Any], list[FieldError]]:
    """Return a student's values after a change, and the errors.

    Only given fields are checked: a field that became required later does not refuse changes of other fields.
    """
    values, errors = _checked(definitions, given)
    for key, value in values.items():
        if value is None and definitions[key].is_required:
            errors.append(_missing(_POINTER + step_to(key)))
    after = {**present, **values}
    return {key: value for key, value in after.items() if value is not None}, errors


def _checked(
    definitions: Mapping[str, Definition], given: Mapping[str, Any]
) -> tuple[dict[str, Any], list[FieldError]]:
    values: dict[str, Any] = {}
    errors = []
    for key, value in given.items():
        pointer, definition = _POINTER + step_to(key), definitions.get(key)
        if definition is None:
            errors.append(FieldError(pointer, "unknown", "No custom field that you may write has this key."))
            continue
        try:
            values[key] = None if value is None else checked_value(definition, value)
        except Unreadable as error:
            errors.append(FieldError(pointer, "invalid", str(error)))
    return values, errors


def _missing(pointer: str) -> FieldError:
    return FieldError(pointer, "required", "The organization requires a value.")
