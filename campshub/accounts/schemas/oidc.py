"""Schemas of ID tokens of other issuers and of linked identities."""

from marshmallow import fields as ma

from campshub.accounts.schemas.signing_in import Otp
from campshub.core.http.schemas import fields
from campshub.core.security.oidc import LONGEST_TOKEN


class IdentityIn(fields.In):
    """An ID token of the identity to link."""

    example = fields.Example(id_token="eyJhbGciOiJSUzI1NiJ9.e30.c2lnbmF0dXJl")

    id_token = fields.Text(required=True, most=LONGEST_TOKEN, least=1)
    issuer = fields.Text(load_default=None, most=2_000, metadata={"description": "The expected issuer of the token."})
    nonce = fields.Text(load_default=None, most=1_000, metadata={"description": "The expected nonce of the token."})


class IdTokenIn(IdentityIn):
    """A sign-in with an ID token."""

    example = fields.Example(id_token="eyJhbGciOiJSUzI1NiJ9.e30.c2lnbmF0dXJl")

    organization_id = fields.Id(load_default=None)
    otp = Otp(load_default=None)


class IdentityOut(fields.Out):
    """An identity at another issuer with which you can sign in."""

    id = fields.Id(required=True)
    issuer = fields.Text(required=True)
    subject = fields.Text(required=True)
    created_at = fields.Instant(required=True)


class IdentitiesOut(fields.Out):
    """Your identities at other issuers."""

    items = ma.List(ma.Nested(IdentityOut), required=True)
