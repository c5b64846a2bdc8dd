"""Schemas of invitations."""

from marshmallow import fields as ma

from campshub.accounts.schemas.signing_in import MOST_OF_A_PASSWORD
from campshub.core.http.schemas import fields
from campshub.core.security.permissions import ROLE_NAMES, Role


class InvitationIn(fields.In):
    """The e-mail address to invite, and the role."""

    example = fields.Example(email="coach@hill.example", role="trainer")

    email = fields.EmailAddress(required=True)
    role = fields.Text(load_default=None, one_of=Role, metadata={"description": "A built-in role."})
    role_id = fields.Id(load_default=None, metadata={"description": "Instead: a custom role."})


class InvitationOut(fields.Out):
    """An invitation; its token is only in the e-mail."""

    id = fields.Id(required=True)
    email = fields.Text(required=True)
    role = fields.Text(required=True, one_of=ROLE_NAMES, metadata={"description": "A built-in one, or `custom`."})
    role_id = fields.Id(required=True, allow_none=True)
    status = fields.Text(required=True, one_of=("open", "accepted", "revoked", "expired"))
    created_at = fields.Instant(required=True)
    sent_at = fields.Instant(required=True, metadata={"description": "The last e-mail; only its link works."})
    expires_at = fields.Instant(required=True)
    version = ma.Integer(required=True)


class AcceptIn(fields.In):
    """The token of an e-mail; a new user also needs a name and a password."""

    example = fields.Example(token="the-token-of-the-email", name="Coach", password="wrong donkey charger")

    token = fields.PastedSecret(required=True, most=500, least=1)
    name = fields.Name(load_default=None)
    password = fields.Text(load_default=None, most=MOST_OF_A_PASSWORD, least=1)


class AcceptedOut(fields.Out):
    """The new membership; sign in with the e-mail address."""

    organization_id = fields.Id(required=True)
    user_id = fields.Id(required=True)
    email = fields.Text(required=True)
    role = fields.Text(required=True, one_of=ROLE_NAMES)
