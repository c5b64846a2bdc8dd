"""Schemas of roles."""

from marshmallow import fields as ma
from marshmallow import validate

from campshub.core.http.schemas import fields
from campshub.core.security.permissions import OF_CUSTOM_ROLES, ROLE_NAMES, Permission, Scope


def permissions_of(choices: frozenset[Permission], **options: object) -> fields.BoundedList:
    """Return a list field that accepts the given permissions."""
    names = sorted(one.value for one in choices)
    several = fields.BoundedList(fields.Text(one_of=names), most=len(names), **options)
    several.validators.append(validate.Length(min=1))
    return several


class RoleIn(fields.In):
    """A new custom role; it always includes the personal permissions (`me:*`)."""

    example = fields.Example(
        id=fields.example_id("role_id"),
        name="Front desk",
        permissions=["attendance:read", "students:read"],
        scope="all",
    )

    id = fields.Id(metadata={"description": "Your own id (UUID version 7), so that a retry is no second role."})
    name = fields.Name(required=True, most=64)
    permissions = permissions_of(OF_CUSTOM_ROLES, required=True)
    scope = fields.Text(required=True, one_of=Scope, metadata={"description": "The scope of its holders."})


class RolePatch(fields.In):
    """Changes of a role."""

    example = fields.Example(name="Reception")

    name = fields.Name(most=64)
    permissions = permissions_of(OF_CUSTOM_ROLES)
    scope = fields.Text(one_of=Scope)


class RoleOut(fields.Out):
    """A role; a built-in one has no id."""

    id = fields.Id(required=True, allow_none=True)
    role = fields.Text(required=True, one_of=ROLE_NAMES, metadata={"description": "A built-in one, or `custom`."})
    name = fields.Text(required=True)
    permissions = ma.List(fields.Text(one_of=Permission), required=True)
    scope = fields.Text(required=True, one_of=Scope)
    created_at = fields.Instant(required=True, allow_none=True)
    updated_at = fields.Instant(required=True, allow_none=True)
    version = ma.Integer(required=True, allow_none=True)


class RolesOut(fields.Out):
    """All built-in roles, then all custom roles by name."""

    items = ma.List(ma.Nested(RoleOut), required=True)
    next_cursor = fields.Text(required=True, allow_none=True)
    has_more = ma.Boolean(required=True)
