"""Schemas of passwords."""

from campshub.accounts.schemas.signing_in import MOST_OF_A_PASSWORD, Otp
from campshub.core.http.schemas import fields


class PasswordIn(fields.In):
    """Your current password and a new one."""

    example = fields.Example(present_password="correct horse battery", new_password="wrong donkey charger")

    present_password = fields.Text(required=True, most=MOST_OF_A_PASSWORD, least=1)
    new_password = fields.Text(required=True, most=MOST_OF_A_PASSWORD, least=1)
    otp = Otp(load_default=None)


class ForgotIn(fields.In):
    """The e-mail address of the user who has forgotten their password."""

    example = fields.Example(email="admin@hill.example")

    email = fields.EmailAddress(required=True)


class ResetIn(fields.In):
    """The token of a reset e-mail and a new password."""

    example = fields.Example(token="the-token-of-the-email", new_password="wrong donkey charger")

    token = fields.PastedSecret(required=True, most=500, least=1)
    new_password = fields.Text(required=True, most=MOST_OF_A_PASSWORD, least=1)
