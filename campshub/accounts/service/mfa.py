"""The second factor: one-time codes of an app, and recovery codes for users who have lost it.

Each code works once. The secret is stored encrypted. Recovery codes are too long to guess, so only a keyed hash is
stored. A wrong code counts as a failed sign-in attempt.
"""

import base64
import hmac
import io
import secrets
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pyotp
import segno
from sqlalchemy import text

from campshub.accounts.models import TotpSecret
from campshub.accounts.queries import sessions as queries
from campshub.accounts.service import attempts
from campshub.core.db.models import AnyRow
from campshub.core.db.session import Session
from campshub.core.errors import Conflict, Forbidden, Invalid, Unauthenticated
from campshub.core.security import events
from campshub.core.security.authorization import NotForKeys
from campshub.core.security.encrypted_columns import encryption_context
from campshub.core.security.events import SecurityEventKind
from campshub.core.security.principal import Principal
from campshub.core.service_base import Services
from campshub.core.threads import run_in_thread

STEP_S = 30
RECOVERY_CODES = 10
_RECOVERY_BYTES = 15  # 120 bits cannot be guessed, so a fast hash is enough
_ISSUER = "CampsHub"
_MFA_OF = text("SELECT * FROM mfa_of(:user_id)")
_CREDENTIALS = text("SELECT * FROM credentials_of_user(:user_id)")
_USE_STEP = text("SELECT use_totp_step(:user_id, :step)")
_USE_RECOVERY = text("SELECT use_recovery_code(:user_id, :hash)")
_BEGIN = text("SELECT begin_totp(:user_id, :sealed)")
_CONFIRM = text("SELECT confirm_totp(:user_id)")
_REPLACE = text("SELECT replace_recovery_codes(:user_id, :hashes)")
_REMOVE = text("SELECT remove_totp(:user_id)")


class OtpRequired(Unauthenticated):
    """Send a one-time code, or a recovery code, as `otp`."""

    code = "otp_required"
    default_detail = "Send a one-time code, or a recovery code, as `otp`."


class BadOtp(Unauthenticated):
    """The one-time code is wrong or was already used."""

    code = "bad_otp"
    default_detail = "The one-time code is wrong or was already used."


class StepUpRequired(Forbidden):
    """Enter your password again first (`POST /api/auth/step-up/`)."""

    code = "step_up_required"
    default_detail = "Enter your password again first (`POST /api/auth/step-up/`)."


class MfaStateConflict(Conflict):
    """A second factor is already set up; remove it first."""

    code = "already_enrolled"
    default_detail = "A second factor is already set up; remove it first."


class MfaRequiredByRole(Conflict):
    """Your role requires a second factor."""

    code = "mfa_required_by_role"
    default_detail = "Your role requires a second factor."


def show(session: Session, user_id: UUID) -> AnyRow:
    """Return the state of a user's second factor."""
    return session.execute(_MFA_OF, {"user_id": user_id}).one()


def require_second(session: Session, services: Services, *, user_id: UUID, otp: str | None, now: datetime) -> AnyRow:
    """Check and use up a code if the user has a second factor; return the factor's state.

    :raises OtpRequired: the code is missing.
    :raises BadOtp: the code is wrong, or was used before.
    """
    has = show(session, user_id)
    if not has.is_confirmed:
        return has
    if otp is None:
        raise OtpRequired
    is_good = _use_step(session, services, user_id, has.sealed_secret, otp, now) if otp.isdecimal() else False
    if not is_good and not session.scalar(_USE_RECOVERY, {"user_id": user_id, "hash": _code_hash(services, otp)}):
        raise BadOtp
    return has


def step_up(
    session: Session, principal: Principal, services: Services, *, password: str, otp: str | None, now: datetime
) -> None:
    """Allow the current session sensitive operations for a while.

    :raises TooManyAtOnce: too many attempts are in flight.
    :raises Invalid: the password is wrong.
    :raises BadOtp: the code is wrong, or was used before.
    """
    email = session.execute(_CREDENTIALS, {"user_id": principal.user_id}).one().email
    attempt = attempts.begin(session, services, email)
    if not services.passwords.check(password, attempt.known.password_hash) or attempt.is_held:
        attempt.fail()
        raise Invalid.at("/password", "wrong", "The password is wrong.")
    try:
        require_second(session, services, user_id=principal.user_id, otp=otp, now=now)
    except BadOtp:
        attempt.fail()
        raise
    attempt.succeed(upgraded=None)
    present = queries.lock_session(session, principal.organization_id, principal.session_id)
    if present is not None:
        present.authenticated_at = now


def require_recent(session: Session, principal: Principal, services: Services, now: datetime) -> None:
    """Require a session whose user has confirmed their password recently.

    :raises StepUpRequired: they have not.
    :raises NotForKeys: the caller is an API key.
    """
    if principal.api_key_id is not None:
        raise NotForKeys
    present = queries.lock_session(session, principal.organization_id, principal.session_id)
    lasts = timedelta(minutes=services.settings.step_up_minutes)
    if present is None or now - present.authenticated_at > lasts:
        raise StepUpRequired


def enrol(session: Session, principal: Principal, services: Services, *, now: datetime) -> dict[str, str]:
    """Begin to set up one-time codes: return the secret as text, URI and QR code. It is active once confirmed.

    :raises StepUpRequired: the password was not confirmed recently.
    :raises MfaStateConflict: there are one-time codes already.
    """
    require_recent(session, principal, services, now)
    email = session.execute(_CREDENTIALS, {"user_id": principal.user_id}).one().email
    secret = pyotp.random_base32()
    sealed = services.ring.seal(secret.encode(), context=_encryption_context(principal.user_id))
    if not session.scalar(_BEGIN, {"user_id": principal.user_id, "sealed": sealed}):
        raise MfaStateConflict
    uri = pyotp.TOTP(secret).provisioning_uri(name=email, issuer_name=_ISSUER)
    svg, png = run_in_thread(_pictures, uri)
    return {"secret": secret, "uri": uri, "qr_svg": svg, "qr_png": png}


def confirm(session: Session, principal: Principal, services: Services, *, otp: str, now: datetime) -> list[str]:
    """Confirm one-time codes with the first of them; return the recovery codes, which are shown only this once.

    :raises MfaStateConflict: there is nothing to confirm.
    :raises Invalid: the code is wrong.
    """
    has = show(session, principal.user_id)
    if has.sealed_secret is None or has.is_confirmed:
        raise MfaStateConflict("No second factor waits for its confirmation.")
    if not _use_step(session, services, principal.user_id, has.sealed_secret, otp, now):
        raise Invalid.at("/otp", "wrong", "The one-time code is wrong.")
    session.scalar(_CONFIRM, {"user_id": principal.user_id})
    present = queries.lock_session(session, principal.organization_id, principal.session_id)
    if present is not None:
        present.must_enrol = False
    events.record_event(session, SecurityEventKind.MFA_ENROLLED, principal.user_id)
    return _new_codes(session, services, principal.user_id)


def renew_codes(session: Session, principal: Principal, services: Services, *, now: datetime) -> list[str]:
    """Replace the recovery codes; return the new ones, which are shown only this once.

    :raises StepUpRequired: the password was not confirmed recently.
    :raises MfaStateConflict: there is no second factor yet.
    """
    require_recent(session, principal, services, now)
    if not show(session, principal.user_id).is_confirmed:
        raise MfaStateConflict("No second factor is set up.")
    return _new_codes(session, services, principal.user_id)


def remove(session: Session, principal: Principal, services: Services, *, now: datetime) -> None:
    """Remove the second factor.

    :raises StepUpRequired: the password was not confirmed recently.
    :raises MfaRequiredByRole: the user's role requires one.
    """
    require_recent(session, principal, services, now)
    if show(session, principal.user_id).is_required:
        raise MfaRequiredByRole
    session.execute(_REMOVE, {"user_id": principal.user_id})
    events.record_event(session, SecurityEventKind.MFA_REMOVED, principal.user_id)


def _use_step(session: Session, services: Services, user_id: UUID, sealed: str, otp: str, now: datetime) -> bool:
    """Return whether a code is valid in the current, previous or next step, and use it up."""
    totp = pyotp.TOTP(services.ring.open(sealed, context=_encryption_context(user_id)).decode(), interval=STEP_S)
    present = int(now.timestamp()) // STEP_S
    for step in (present, present - 1, present + 1):
        if hmac.compare_digest(totp.generate_otp(step).encode(), otp.encode()):
            return bool(session.scalar(_USE_STEP, {"user_id": user_id, "step": step}))
    return False


def _new_codes(session: Session, services: Services, user_id: UUID) -> list[str]:
    codes = [base64.b32encode(secrets.token_bytes(_RECOVERY_BYTES)).decode() for _ in range(RECOVERY_CODES)]
    session.execute(_REPLACE, {"user_id": user_id, "hashes": [_code_hash(services, code) for code in codes]})
    return ["-".join(code[at : at + 4] for at in range(0, len(code), 4)) for code in codes]


def _code_hash(services: Services, code: str) -> bytes:
    return services.tokens.opaque.keyed("recovery", code)


def _encryption_context(user_id: UUID) -> str:
    return encryption_context(TotpSecret.sealed_secret, user_id=user_id)


def _pictures(uri: str) -> tuple[str, str]:
    code, svg, png = segno.make(uri, error="m"), io.BytesIO(), io.BytesIO()
    code.save(svg, kind="svg", scale=4, xmldecl=False)
    code.save(png, kind="png", scale=4)
    return svg.getvalue().decode(), base64.b64encode(png.getvalue()).decode()


def state_of(has: AnyRow) -> dict[str, Any]:
    """Return the response for a user's second factor."""
    return {
        "is_enrolled": has.is_confirmed,
        "is_required": has.is_required,
        "recovery_codes_left": has.codes_left,
    }
