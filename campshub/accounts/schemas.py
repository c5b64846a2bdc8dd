"""What the accounts' addresses take and show."""

from marshmallow import fields as ma

from campshub.core.http import fields
from campshub.core.security.passwords import LONGEST_BYTES
from campshub.core.security.permissions import Role


class TokenIn(fields.In):
    """A password sign-in."""

    email = fields.Email(required=True)
    password = fields.Text(required=True, most=LONGEST_BYTES, least=1)
    organization_id = fields.Id(load_default=None)


class MembershipOut(fields.Out):
    """An organization that the user belongs to."""

    organization_id = fields.Id(required=True)
    name = fields.Text(required=True)
    role = fields.Text(required=True)


class TokenOut(fields.Out):
    """Tokens for one user in one organization."""

    access_token = fields.Text(required=True)
    refresh_token = fields.Text(required=True)
    token_type = fields.Text(required=True)
    expires_in = ma.Integer(required=True, metadata={"description": "Seconds until the access token runs out."})
    organization_id = fields.Id(required=True)
    organizations = ma.List(ma.Nested(MembershipOut), required=True)


class MeOut(fields.Out):
    """The signed-in user."""

    id = fields.Id(required=True)
    email = fields.Text(required=True)
    name = fields.Text(required=True)
    organization_id = fields.Id(required=True)
    role = fields.Text(required=True)
    permissions = ma.List(fields.Text(), required=True)
    organizations = ma.List(ma.Nested(MembershipOut), required=True)
    created_at = fields.Instant(required=True)
    version = ma.Integer(required=True)


class MePatch(fields.In):
    """What a user may change of themselves."""

    name = fields.Name(required=True)


class OrganizationIn(fields.In):
    """A new organization with its first admin."""

    name = fields.Name(required=True)
    time_zone = fields.TimeZone(required=True)
    currency = fields.Currency(required=True)
    locale = fields.Name(load_default="en", most=35)
    admin_email = fields.Email(required=True)
    admin_name = fields.Name(required=True)
    admin_password = fields.Text(required=True, most=LONGEST_BYTES, least=12)


class OrganizationPatch(fields.In):
    """What an admin may change of the organization."""

    name = fields.Name()
    time_zone = fields.TimeZone()
    currency = fields.Currency()
    locale = fields.Name(most=35)


class OrganizationOut(fields.Out):
    """An organization."""

    id = fields.Id(required=True)
    name = fields.Text(required=True)
    status = fields.Text(required=True)
    time_zone = fields.Text(required=True)
    currency = fields.Text(required=True)
    locale = fields.Text(required=True)
    created_at = fields.Instant(required=True)
    updated_at = fields.Instant(required=True)
    version = ma.Integer(required=True)


class UserFilter(fields.Filter):
    """Which users."""

    role = fields.Text(load_default=None, one_of=Role)


class UserOut(fields.Out):
    """A user, as their organization sees them."""

    id = fields.Id(required=True)
    email = fields.Text(required=True)
    name = fields.Text(required=True)
    role = fields.Text(required=True)
    status = fields.Text(required=True, metadata={"description": "Of the membership: active or disabled."})
    created_at = fields.Instant(required=True)
    version = ma.Integer(required=True)
