"""Schemas of sign-in and sessions."""

from collections.abc import Mapping
from typing import Any

from marshmallow import fields as ma

from campshub.core.http.schemas import fields
from campshub.core.normalization import code_of
from campshub.core.security.permissions import ROLE_NAMES

# Longer than any real password; up to this length, the response is the same as for a wrong password.
MOST_OF_A_PASSWORD = 16_384


class Otp(fields.Text):
    """A one-time or recovery code as typed or pasted: blanks, dashes and the script of its digits do not matter."""

    def __init__(self, **options: Any) -> None:
        super().__init__(most=100, least=1, metadata={"description": "A one-time or recovery code."}, **options)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **options: Any) -> Any:
        return code_of(super()._deserialize(value, attr, data, **options))


class TokenIn(fields.In):
    """A sign-in with a password."""

    example = fields.Example(email="admin@hill.example", password="correct horse battery")

    email = fields.EmailAddress(required=True)
    password = fields.Text(required=True, most=MOST_OF_A_PASSWORD, least=1)
    organization_id = fields.Id(load_default=None)
    otp = Otp(load_default=None)


class MembershipOut(fields.Out):
    """A membership of the user."""

    organization_id = fields.Id(required=True)
    name = fields.Text(required=True)
    role = fields.Text(required=True, one_of=ROLE_NAMES)


class TokenOut(fields.Out):
    """Tokens for one user in one organization."""

    access_token = fields.Text(required=True)
    refresh_token = fields.Text(required=True)
    token_type = fields.Text(required=True, one_of=("Bearer",))
    expires_in = ma.Integer(required=True, metadata={"description": "Seconds until the access token expires."})
    organization_id = fields.Id(required=True)
    organizations = ma.List(ma.Nested(MembershipOut), required=True)


class RefreshIn(fields.In):
    """A refresh token to exchange."""

    example = fields.Example(refresh_token="the-refresh-token-of-the-last-response")

    refresh_token = fields.PastedSecret(required=True, most=500, least=1)


class RefreshOut(fields.Out):
    """The next tokens of a session."""

    access_token = fields.Text(required=True)
    refresh_token = fields.Text(required=True, metadata={"description": "The one in the request stops working."})
    token_type = fields.Text(required=True, one_of=("Bearer",))
    expires_in = ma.Integer(required=True, metadata={"description": "Seconds until the access token expires."})
    organization_id = fields.Id(required=True)


class SwitchIn(fields.In):
    """The organization to switch to."""

    example = fields.Example(organization_id=fields.example_id("organization_id"))

    organization_id = fields.Id(required=True)


class SessionOut(fields.Out):
    """One of your sessions."""

    id = fields.Id(required=True)
    created_at = fields.Instant(required=True)
    last_used_at = fields.Instant(required=True, metadata={"description": "The sign-in, or the last refresh."})
    expires_at = fields.Instant(required=True, metadata={"description": "Without another refresh."})
    address = fields.Text(required=True, allow_none=True)
    user_agent = fields.Text(required=True, allow_none=True)
    is_current = ma.Boolean(required=True)
