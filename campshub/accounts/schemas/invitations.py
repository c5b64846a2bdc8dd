"""Invitations: what comes in and goes out."""

from marshmallow import fields as ma

from campshub.accounts.schemas.signing_in import MOST_OF_A_PASSWORD
from campshub.core.http.schemas import fields
from campshub.core.security.permissions import ROLE_NAMES, Role


class InvitationIn(fields.In):
    """Whom to invite, and as what."""

    example = fields.Example(email="coach@hill.example", role="trainer")

    email = fields.Email(required=True)
    role = fields.Text(load_default=None, one_of=Role, metadata={"description": "A built-in one."})
    role_id = fields.Id(load_default=None, metadata={"description": "Instead: one of the organization's own."})


class InvitationOut(fields.Out):
    """An invitation; its token is in the letter alone."""

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
    """The token of a letter; who is no user yet also gives a name and a password."""

    example = fields.Example(token="the-token-of-the-email", name="Coach", password="wrong donkey charger")

    token = fields.Pasted(required=True, most=500, least=1)
    name = fields.Name(load_default=None)
    password = fields.Text(load_default=None, most=MOST_OF_A_PASSWORD, least=1)


class AcceptedOut(fields.Out):
    """Where one belongs now; sign in with the e-mail address."""

    organization_id = fields.Id(required=True)
    user_id = fields.Id(required=True)
    email = fields.Text(required=True)
    role = fields.Text(required=True, one_of=ROLE_NAMES)
