"""Passwords: what comes in."""

from campshub.accounts.schemas.signing_in import MOST_OF_A_PASSWORD, Otp
from campshub.core.http.schemas import fields


class PasswordIn(fields.In):
    """A new password of one's own."""

    example = fields.Example(present_password="correct horse battery", new_password="wrong donkey charger")

    present_password = fields.Text(required=True, most=MOST_OF_A_PASSWORD, least=1)
    new_password = fields.Text(required=True, most=MOST_OF_A_PASSWORD, least=1)
    otp = Otp(load_default=None)


class ForgotIn(fields.In):
    """Whose password is forgotten."""

    example = fields.Example(email="admin@hill.example")

    email = fields.Email(required=True)


class ResetIn(fields.In):
    """A new password for a forgotten one."""

    example = fields.Example(token="the-token-of-the-email", new_password="wrong donkey charger")

    token = fields.Pasted(required=True, most=500, least=1)
    new_password = fields.Text(required=True, most=MOST_OF_A_PASSWORD, least=1)
