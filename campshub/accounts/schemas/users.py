"""Schemas of users and of the signed-in user."""

from marshmallow import fields as ma

from campshub.accounts.schemas.signing_in import MOST_OF_A_PASSWORD, MembershipOut
from campshub.core.http.schemas import fields
from campshub.core.security.permissions import ROLE_NAMES, Permission, Role, Scope


class MeOut(fields.Out):
    """The signed-in user."""

    id = fields.Id(required=True)
    email = fields.Text(required=True)
    name = fields.Text(required=True)
    organization_id = fields.Id(required=True)
    role = fields.Text(required=True, one_of=ROLE_NAMES, metadata={"description": "A built-in one, or `custom`."})
    role_id = fields.Id(required=True, allow_none=True)
    role_name = fields.Text(required=True, allow_none=True, metadata={"description": "The name of a custom role."})
    permissions = ma.List(fields.Text(one_of=Permission), required=True)
    scope = fields.Text(required=True, one_of=Scope, metadata={"description": "Your scope."})
    organizations = ma.List(ma.Nested(MembershipOut), required=True)
    created_at = fields.Instant(required=True)
    version = ma.Integer(required=True)


class MePatch(fields.In):
    """Changes of the signed-in user."""

    example = fields.Example(name="Asha Rao")

    name = fields.Name()


class UserFilter(fields.Filter):
    """Filters of users."""

    role = fields.Text(load_default=None, one_of=ROLE_NAMES)
    role_id = fields.Id(load_default=None)
    external_id = fields.Text(load_default=None, metadata={"description": "Exactly this external id."})


class UserIn(fields.In):
    """A new user of the organization."""

    example = fields.Example(
        email="ravi@hill.example", name="Ravi Iyer", role="trainer", password="correct horse battery"
    )

    email = fields.EmailAddress(required=True)
    name = fields.Name(required=True)
    role = fields.Text(load_default=None, one_of=Role, metadata={"description": "A built-in role."})
    role_id = fields.Id(load_default=None, metadata={"description": "Instead: a custom role."})
    external_id = fields.Name(
        load_default=None, allow_none=True, metadata={"description": "The user's id in another system."}
    )
    password = fields.Text(required=True, most=MOST_OF_A_PASSWORD, least=1)


class UserPatch(fields.In):
    """Changes of a member by an admin."""

    example = fields.Example(role="trainer")

    role = fields.Text(one_of=Role)
    role_id = fields.Id()
    external_id = fields.Name(allow_none=True)
    status = fields.Text(one_of=("active", "disabled"))


class UserOut(fields.Out):
    """A member of the organization."""

    id = fields.Id(required=True)
    email = fields.Text(required=True)
    name = fields.Text(required=True)
    role = fields.Text(required=True, one_of=ROLE_NAMES, metadata={"description": "A built-in one, or `custom`."})
    role_id = fields.Id(required=True, allow_none=True)
    external_id = fields.Text(required=True, allow_none=True)
    status = fields.Text(required=True, one_of=("active", "disabled"), metadata={"description": "Of the membership."})
    created_at = fields.Instant(required=True)
    version = ma.Integer(required=True)
