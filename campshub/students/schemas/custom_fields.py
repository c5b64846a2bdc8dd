"""Schemas of custom fields and of their values."""

from collections.abc import Mapping
from typing import Any

from marshmallow import ValidationError, validate, validates_schema
from marshmallow import fields as ma

from campshub.core.http.schemas import fields
from campshub.students.models import AUDIENCES, CUSTOM_FIELD_TYPES
from campshub.students.values import MOST_FIELDS, MOST_TEXT

_KEY = r"^[a-z][a-z0-9_]{0,39}$"
_MOST_CHOICES = 200
_MOST_CONDITIONS = 5
_VISIBLE_TO = (
    "Who sees the field and its values besides the staff who see the whole organization: `trainers` (callers of the"
    " scope `groups`), `student` (of the scope `own`)."
)


class CustomValues(ma.Dict):
    """The values of a student's custom fields by their keys; the organization's definitions check them."""

    def __init__(self, **options: Any) -> None:
        super().__init__(keys=fields.Text(most=40), validate=[validate.Length(max=MOST_FIELDS)], **options)


class Conditions(fields.Text):
    """Conditions ``key:value``, separated by commas; a backslash escapes a comma or a backslash in a value."""

    def __init__(self, **options: Any) -> None:
        super().__init__(most=_MOST_CONDITIONS * (MOST_TEXT + 50), **options)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **options: Any) -> Any:
        found = [one.partition(":") for one in _split(super()._deserialize(value, attr, data, **options))]
        if len(found) > _MOST_CONDITIONS:
            raise ValidationError(f"More than {_MOST_CONDITIONS} conditions.")
        if not all(key and colon for key, colon, _ in found):
            raise ValidationError("Must be conditions such as shirt_size:M, separated by commas.")
        if len({key for key, *_ in found}) < len(found):
            raise ValidationError("Each key may appear once.")
        return tuple((key, text) for key, _, text in found)


def _split(text: str) -> list[str]:
    """Split a text at its commas that no backslash escapes."""
    parts, is_escaped = [""], False
    for character in text:
        if is_escaped or character not in "\\,":
            parts[-1] += character
            is_escaped = False
        elif character == "\\":
            is_escaped = True
        else:
            parts.append("")
    return parts


def _key_field(**options: Any) -> fields.Text:
    made = fields.Text(most=40, **options)
    made.validators.append(validate.Regexp(_KEY, error="Must be a lower-case name such as shirt_size."))
    return made


class _CustomField(fields.In):
    """Fields common to defining and changing a custom field."""

    position = fields.Integer(metadata={"description": "Fields are listed by position."})

    @validates_schema
    def _has_distinct_choices(self, given: Mapping[str, Any], **_options: Any) -> None:
        choices = given.get("choices", [])
        if len(set(choices)) < len(choices):
            raise ValidationError("Each choice may appear once.", "choices")


class CustomFieldIn(_CustomField):
    """A new custom field of students."""

    example = fields.Example(
        id=fields.example_id("custom_field_id"),
        key="shirt_size",
        label="Shirt size",
        type="choice",
        choices=["S", "M", "L"],
        visible_to=["trainers"],
    )

    id = fields.Id(metadata={"description": "Your own id (UUID version 7), so that a retry defines no second field."})
    key = _key_field(required=True, metadata={"description": "The name in `custom_fields`; it never changes."})
    label = fields.Name(required=True)
    type = fields.Text(one_of=CUSTOM_FIELD_TYPES, required=True)
    is_required = fields.Boolean(load_default=False)
    choices = fields.BoundedList(fields.Name(), load_default=list, most=_MOST_CHOICES)
    visible_to = fields.BoundedList(
        fields.Text(one_of=AUDIENCES), load_default=list, most=len(AUDIENCES), metadata={"description": _VISIBLE_TO}
    )
    is_personal = fields.Boolean(
        load_default=True, metadata={"description": "The values say something about a person."}
    )
    is_archived = fields.Boolean(load_default=False)


class CustomFieldPatch(_CustomField):
    """Changes of a custom field; omitted fields stay as they are."""

    example = fields.Example(label="Size of the shirt")

    label = fields.Name()
    type = fields.Text(one_of=CUSTOM_FIELD_TYPES)
    is_required = fields.Boolean()
    choices = fields.BoundedList(fields.Name(), most=_MOST_CHOICES)
    visible_to = fields.BoundedList(
        fields.Text(one_of=AUDIENCES), most=len(AUDIENCES), metadata={"description": _VISIBLE_TO}
    )
    is_personal = fields.Boolean()
    is_archived = fields.Boolean(metadata={"description": "Values of an archived field stay, but are not shown."})


class CustomFieldFilter(fields.Filter):
    """Filters of custom fields."""

    archived = fields.Boolean(load_default=False, metadata={"description": "List the archived ones instead."})


class CustomFieldOut(fields.Out):
    """A custom field of students."""

    id = fields.Id(required=True)
    key = fields.Text(required=True)
    label = fields.Text(required=True)
    type = fields.Text(required=True, one_of=CUSTOM_FIELD_TYPES)
    is_required = fields.Boolean(required=True)
    choices = ma.List(fields.Text(), required=True)
    visible_to = ma.List(fields.Text(one_of=AUDIENCES), required=True)
    is_personal = fields.Boolean(required=True)
    position = ma.Integer(required=True)
    is_archived = fields.Boolean(required=True)
    created_at = ma.AwareDateTime(required=True)
    updated_at = ma.AwareDateTime(required=True)
    version = ma.Integer(required=True)
