"""Schemas of the second factor."""

from marshmallow import fields as ma

from campshub.accounts.schemas.signing_in import MOST_OF_A_PASSWORD, Otp
from campshub.core.http.schemas import fields


class MfaOut(fields.Out):
    """The state of your second factor."""

    is_enrolled = ma.Boolean(required=True)
    is_required = ma.Boolean(required=True, metadata={"description": "Whether your role requires it."})
    recovery_codes_left = ma.Integer(required=True)


class TotpOut(fields.Out):
    """One-time codes to set up; the secret is shown only this once."""

    secret = fields.Text(required=True)
    uri = fields.Text(required=True, metadata={"description": "otpauth://, for apps on the same device."})
    qr_svg = fields.Text(required=True)
    qr_png = fields.Text(required=True, metadata={"description": "Base64."})


class ConfirmIn(fields.In):
    """The code that the app shows."""

    example = fields.Example(otp="123456")

    otp = Otp(required=True)


class RecoveryCodesOut(fields.Out):
    """Recovery codes, each for one sign-in; they are shown only this once."""

    recovery_codes = ma.List(fields.Text(), required=True)


class StepUpIn(fields.In):
    """Your password, and a code if you have a second factor."""

    example = fields.Example(password="correct horse battery")

    password = fields.Text(required=True, most=MOST_OF_A_PASSWORD, least=1)
    otp = Otp(load_default=None)
