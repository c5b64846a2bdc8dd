"""Schemas of attendance codes."""

from typing import Any

from marshmallow import fields as ma
from marshmallow import validate

from campshub.attendance.models import COUNTS_AS
from campshub.core.http.schemas import fields


class CodeKey(fields.Text):
    """A code's key, which records store and requests send."""

    def __init__(self, **options: Any) -> None:
        super().__init__(most=32, **options)
        self.validators.append(
            validate.Regexp(r"^[a-z0-9][a-z0-9_]{0,31}$", error="Lower-case letters, digits and underscores, up to 32.")
        )


class AttendanceCodeIn(fields.In):
    """A new code of the organization; with a default's key it replaces the default."""

    example = fields.Example(id=fields.example_id("code_id"), key="field_trip", label="Field trip", counts_as="present")

    id = fields.Id(metadata={"description": "Your own id (UUID version 7), so that a retry is no second code."})
    key = CodeKey(required=True)
    label = fields.Name(required=True, most=64)
    counts_as = fields.Text(required=True, one_of=COUNTS_AS)
    in_rate = fields.Boolean(load_default=True, metadata={"description": "Whether its marks count in the rate."})
    position = fields.Integer(load_default=0, most=10_000, metadata={"description": "Its position in the list."})
    is_archived = fields.Boolean(load_default=False, metadata={"description": "New marks cannot use it."})


class AttendanceCodePatch(fields.In):
    """Changes of a code; its key cannot change, because records store it."""

    example = fields.Example(label="School trip")

    label = fields.Name(most=64)
    counts_as = fields.Text(one_of=COUNTS_AS)
    in_rate = fields.Boolean()
    position = fields.Integer(most=10_000)
    is_archived = fields.Boolean()


class AttendanceCodeOut(fields.Out):
    """An attendance code."""

    id = fields.Id(required=True)
    key = fields.Text(required=True)
    label = fields.Text(required=True)
    counts_as = fields.Text(required=True, one_of=COUNTS_AS)
    in_rate = fields.Boolean(required=True)
    position = ma.Integer(required=True)
    is_archived = fields.Boolean(required=True)
    is_default = fields.Boolean(required=True, metadata={"description": "A default, which every organization has."})
    created_at = ma.AwareDateTime(required=True)
    updated_at = ma.AwareDateTime(required=True)
    version = ma.Integer(required=True)


class AttendanceCodeFilter(fields.Filter):
    """Filters of codes."""

    archived = fields.Boolean(load_default=False, metadata={"description": "List the archived ones instead."})
