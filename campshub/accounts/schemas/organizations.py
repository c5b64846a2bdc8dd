"""Schemas of organizations."""

from marshmallow import fields as ma

from campshub.core.http.schemas import fields
from campshub.core.security.passwords import LONGEST_BYTES
from campshub.core.security.permissions import Role

_PLAN = "The rate limit of each user and key; null: the default. It takes effect with the next access token."
_DAYS_AHEAD = "How many days ahead sessions are created from the weekly meetings of groups."
ORGANIZATION_STATUSES = ("active", "suspended", "closed")


class OrganizationIn(fields.In):
    """A new organization with its first admin."""

    example = fields.Example(
        name="Lake Camp",
        time_zone="Asia/Kolkata",
        currency="INR",
        admin_email="admin@lake.example",
        admin_name="Mira Das",
        admin_password="correct horse battery",
    )

    name = fields.Name(required=True)
    time_zone = fields.TimeZone(required=True)
    currency = fields.Currency(required=True)
    locale = fields.Name(load_default="en", most=35)
    admin_email = fields.EmailAddress(required=True)
    admin_name = fields.Name(required=True)
    admin_password = fields.Text(required=True, most=LONGEST_BYTES, least=1)


class OrganizationPatch(fields.In):
    """Changes of the organization by an admin."""

    example = fields.Example(name="Hill Camp", time_zone="Asia/Kolkata")

    name = fields.Name()
    time_zone = fields.TimeZone()
    currency = fields.Currency()
    locale = fields.Name(most=35)
    password_length_min = fields.Integer(least=8, most=64)
    session_days_ahead = fields.Integer(least=0, most=60, metadata={"description": _DAYS_AHEAD})
    mfa_roles = fields.BoundedList(
        fields.Text(most=36),
        most=len(Role) + 100,
        metadata={"description": "Built-in roles by name, custom roles by id."},
    )


class OrganizationStatePatch(fields.In):
    """Changes of any organization by the platform's staff."""

    example = fields.Example(status="active")

    status = fields.Text(one_of=ORGANIZATION_STATUSES)
    requests_per_hour = fields.Integer(least=1, most=9_999_999, allow_none=True, metadata={"description": _PLAN})


class OrganizationOut(fields.Out):
    """An organization."""

    id = fields.Id(required=True)
    name = fields.Text(required=True)
    status = fields.Text(required=True, one_of=ORGANIZATION_STATUSES)
    closed_at = fields.Instant(required=True, allow_none=True)
    time_zone = fields.Text(required=True)
    currency = fields.Text(required=True)
    locale = fields.Text(required=True)
    mfa_roles = ma.List(
        fields.Text(), required=True, metadata={"description": "Roles whose users need a second factor."}
    )
    requests_per_hour = ma.Integer(required=True, allow_none=True, metadata={"description": _PLAN})
    password_length_min = ma.Integer(required=True, metadata={"description": "The minimum length of a password."})
    session_days_ahead = ma.Integer(required=True, metadata={"description": _DAYS_AHEAD})
    created_at = fields.Instant(required=True)
    updated_at = fields.Instant(required=True)
    version = ma.Integer(required=True)
