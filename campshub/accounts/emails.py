"""Texts of the e-mails to users. They contain only secrets that were made for the e-mail."""

from datetime import datetime
from uuid import UUID

from campshub.core.mail import Email

_END = "\n\nCampsHub\n"


def reset(id_: UUID, *, to: str, link: str, token: str, at: datetime) -> Email:
    """Return the e-mail for a forgotten password."""
    text = (
        "Someone requested a new password for this address. If it was you, choose one here within an hour:\n\n"
        f"{link}\n\nor give this code to your app:\n\n{token}\n\n"
        "If it was not you, nothing has changed, and you need not do anything."
    )
    return Email(id_, to, "A new password", text + _END, at)


def invitation(id_: UUID, *, to: str, organization: str, link: str, token: str, at: datetime) -> Email:
    """Return the e-mail of an invitation."""
    text = (
        f"You are invited to {organization}. Accept here within seven days:\n\n{link}\n\n"
        f"or give this code to your app:\n\n{token}\n\nIf you do not know them, you need not do anything."
    )
    return Email(id_, to, f"An invitation to {organization}", text + _END, at)


def lockout(id_: UUID, *, to: str, link: str, at: datetime) -> Email:
    """Return the e-mail about an account that is locked out after too many wrong passwords."""
    text = (
        "Someone has tried wrong passwords for your account several times. Until they stop, each sign-in has to wait a"
        " little longer than the one before, with the right password too.\n\n"
        f"If it was you and you have forgotten the password, choose a new one, which also ends the wait:\n\n{link}\n\n"
        "If it was not you, they did not get into your account."
    )
    return Email(id_, to, "Wrong passwords for your account", text + _END, at)


def new_password(id_: UUID, *, to: str, link: str, at: datetime) -> Email:
    """Return the e-mail about a changed password."""
    text = (
        "The password of your account has been changed, and all other sessions have ended.\n\n"
        f"If it was not you, choose a new one at once, and inform the people who run your organization:\n\n{link}"
    )
    return Email(id_, to, "Your password has been changed", text + _END, at)
