"""Schemas of API keys."""

from marshmallow import fields as ma

from campshub.accounts.models import KEY_KINDS
from campshub.accounts.schemas.roles import permissions_of
from campshub.core.http.schemas import fields
from campshub.core.security.permissions import OF_KEYS, Permission, Scope

MOST_DAYS = 36_500


class ApiKeyIn(fields.In):
    """A new key. A device's key is for marking attendance, and its name is the device's location."""

    example = fields.Example(name="Timetable", permissions=["students:read"], expires_in_days=90)

    kind = fields.Text(load_default="key", one_of=KEY_KINDS)
    name = fields.Name(required=True, most=64)
    permissions = permissions_of(OF_KEYS, load_default=None)
    scope = fields.Text(load_default=None, one_of=Scope, metadata={"description": "Default: your own scope."})
    expires_in_days = fields.Integer(required=True, least=1, most=MOST_DAYS)


class ApiKeyOut(fields.Out):
    """A key without its secret, which is not stored."""

    id = fields.Id(required=True)
    kind = fields.Text(required=True, one_of=KEY_KINDS)
    name = fields.Text(required=True)
    prefix = fields.Text(required=True)
    permissions = ma.List(fields.Text(one_of=Permission), required=True)
    scope = fields.Text(required=True, one_of=Scope)
    status = fields.Text(required=True, one_of=("active", "expired", "revoked"))
    user_id = fields.Id(required=True, metadata={"description": "The user who made it and for whom it acts."})
    created_at = fields.Instant(required=True)
    expires_at = fields.Instant(required=True)
    revoked_at = fields.Instant(required=True, allow_none=True)
    last_used_at = fields.Instant(required=True, allow_none=True, metadata={"description": "To the minute."})
    last_address = fields.Text(required=True, allow_none=True)
    version = ma.Integer(required=True)


class NewApiKeyOut(ApiKeyOut):
    """A new key with its secret, which is shown only this once."""

    key = fields.Text(required=True)
