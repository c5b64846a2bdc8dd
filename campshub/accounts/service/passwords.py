"""Passwords: change with the current one, or reset by e-mail."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select, text

from campshub.accounts.models import PasswordReset, User
from campshub.accounts.queries.signing_in import memberships_of
from campshub.accounts.service import attempts, mfa, sessions
from campshub.core.db.models import PLATFORM_ID, AnyRow
from campshub.core.db.session import Session
from campshub.core.errors import Invalid, Problem
from campshub.core.jobs.store import enqueue
from campshub.core.normalization import email_key
from campshub.core.security import events
from campshub.core.security.events import SecurityEventKind
from campshub.core.security.opaque import UnknownToken, hash_of
from campshub.core.security.principal import Principal
from campshub.core.service_base import Services

RESET = "chp"
RESET_LASTS = timedelta(hours=1)
_CREDENTIALS = text("SELECT * FROM credentials_of_user(:user_id)")
_SET = text("SELECT set_password(:user_id, :hashed, :account)")
_RESET_OF = text("SELECT * FROM password_reset_of(:hash)")
_USE_RESET = text("SELECT use_password_reset(:hash, :hashed, :account)")


class TokenSpent(Problem):
    """The link is invalid or has expired; request a new one."""

    status = 410
    code = "token_spent"
    default_detail = "The link is invalid or has expired; request a new one."


def change(
    session: Session,
    principal: Principal,
    services: Services,
    *,
    present_password: str,
    new_password: str,
    otp: str | None,
    client: str | None,
    now: datetime,
) -> dict[str, Any]:
    """Change the signed-in user's password and end their other sessions; return the current session's next tokens.

    :raises Invalid: the current password is wrong, or the new one is too weak.
    :raises TooManyAtOnce: too many attempts are in flight.
    :raises OtpRequired: the user has a second factor, and the code is missing.
    :raises BadOtp: the code is wrong, or was used before.
    """
    email = session.execute(_CREDENTIALS, {"user_id": principal.user_id}).one().email
    least = least_length(memberships_of(session, principal.user_id))
    services.passwords.require_good(new_password, least=least, email=email, pointer="/new_password")
    attempt = attempts.begin(session, services, email)
    genuine = services.passwords.check(present_password, attempt.known.password_hash)
    if attempt.is_held or not genuine:
        attempt.fail()
        raise Invalid.at("/present_password", "wrong", "The present password is wrong.")
    try:
        mfa.require_second(session, services, user_id=principal.user_id, otp=otp, now=now)
    except mfa.BadOtp:
        attempt.fail()
        raise
    session.release()  # the hash takes long
    hashed = services.passwords.hash(new_password)
    version = _set(session, services, principal.user_id, email, hashed)
    _record_and_notify(session, principal.user_id, SecurityEventKind.PASSWORD_CHANGED)
    return sessions.renew(session, principal, services, session_version=version, client=client)


def forgot(session: Session, services: Services, *, email: str) -> None:
    """Enqueue a reset e-mail; the job looks up whether a user has the address."""
    attempts.enqueue_email(session, services, "accounts.forgot_password", email)


def prepare_reset(
    session: Session, services: Services, *, email: str, reset_id: UUID, now: datetime
) -> tuple[User, str] | None:
    """Return the user of an address and the token that resets their password; needs the system role.

    The same id gives the same token, with an unchanged expiry.
    """
    user = session.scalars(
        select(User).where(User.email_key == email_key(email), User.status == "active")
    ).one_or_none()
    if user is None or not memberships_of(session, user.id):
        return None
    token = services.tokens.opaque.write(RESET, PLATFORM_ID, reset_id)
    if session.get(PasswordReset, reset_id) is None:
        session.add(
            PasswordReset(id=reset_id, user_id=user.id, token_hash=hash_of(token), expires_at=now + RESET_LASTS)
        )
    return user, token


def reset(session: Session, services: Services, *, token: str, new_password: str) -> None:
    """Set a new password with the token of an e-mail and end every session; a second factor stays required.

    :raises TokenSpent: the token is not ours, was used, or has expired.
    :raises Invalid: the new password is too weak.
    """
    try:
        services.tokens.opaque.read(RESET, token)
    except UnknownToken:
        raise TokenSpent from None
    hashed_token = hash_of(token)
    named = session.execute(_RESET_OF, {"hash": hashed_token}).one_or_none()
    memberships = memberships_of(session, named.user_id) if named else []
    if named is None or not memberships:
        raise TokenSpent
    services.passwords.require_good(
        new_password, least=least_length(memberships), email=named.email, pointer="/new_password"
    )
    session.release()  # the hash takes long
    hashed = services.passwords.hash(new_password)
    session.enter(memberships[0].organization_id, named.user_id)
    account = attempts.account_key(services, named.email)
    if not session.scalar(_USE_RESET, {"hash": hashed_token, "hashed": hashed, "account": account}):
        raise TokenSpent
    sessions.mark_user_changed(session, named.user_id)
    _record_and_notify(session, named.user_id, SecurityEventKind.PASSWORD_RESET)


def replace(session: Session, services: Services, *, user_id: UUID, email: str, hashed: str) -> int:
    """Replace a user's password, for commands; every session ends. Return the new session version."""
    version = _set(session, services, user_id, email, hashed)
    _record_and_notify(session, user_id, SecurityEventKind.PASSWORD_RESET)
    return version


def least_length(memberships: list[AnyRow]) -> int:
    """Return the minimum length of a password: the strictest rule of its owner's organizations."""
    least: int = max(membership.password_length_min for membership in memberships)
    return least


def _set(session: Session, services: Services, user_id: UUID, email: str, hashed: str) -> int:
    account = attempts.account_key(services, email)
    version: int = session.execute(_SET, {"user_id": user_id, "hashed": hashed, "account": account}).scalar_one()
    sessions.mark_user_changed(session, user_id)
    return version


def _record_and_notify(session: Session, user_id: UUID, kind: SecurityEventKind) -> None:
    events.record_event(session, kind, user_id)
    enqueue(session, "accounts.notify_of_new_password", user_id=str(user_id))
