"""Sign-in with a password."""

from datetime import datetime
from typing import Any
from uuid import UUID

from campshub.accounts.queries import signing_in as queries
from campshub.accounts.service import attempts, mfa, sessions
from campshub.accounts.service.attempts import Attempt
from campshub.accounts.service.sessions import NoMembership
from campshub.core.db.models import AnyRow
from campshub.core.db.session import Session
from campshub.core.errors import Unauthenticated
from campshub.core.service_base import Services


class BadCredentials(Unauthenticated):
    """The e-mail address or the password is wrong."""

    code = "bad_credentials"
    default_detail = "The e-mail address or the password is wrong."


def sign_in(
    session: Session,
    services: Services,
    *,
    email: str,
    password: str,
    organization_id: UUID | None,
    otp: str | None,
    client: str | None,
    now: datetime,
) -> dict[str, Any]:
    """Check a password and open a session in ``organization_id``, else in the organization last used.

    :raises BadCredentials: the address or password is wrong, or the user is disabled; all give the same response.
    :raises TooManyAtOnce: too many attempts are in flight.
    :raises OtpRequired: the user has a second factor, and the code is missing; the attempt does not count.
    :raises BadOtp: the code is wrong, or was used before.
    :raises NoMembership: the user is not a member of ``organization_id``, or of any organization.
    """
    attempt = _require_password(session, services, email, password)
    known = attempt.known
    organizations = queries.memberships_of(session, known.user_id)
    chosen = next((o for o in organizations if organization_id in (None, o.organization_id)), None)
    if chosen is None:
        attempt.succeed_separately()
        raise NoMembership
    upgraded = _upgraded_hash(session, services, password, known.password_hash)
    session.enter(chosen.organization_id, known.user_id)
    has = _require_second(session, services, attempt, otp=otp, now=now)
    attempt.succeed(upgraded=upgraded)
    opened = sessions.open_session(
        session,
        services,
        user_id=known.user_id,
        session_version=known.session_version,
        client=client,
        authenticated_at=now,
        must_enrol=bool(has.is_required and not has.is_confirmed),
    )
    return {**opened, "organizations": organizations}


def _require_password(session: Session, services: Services, email: str, password: str) -> Attempt:
    attempt = attempts.begin(session, services, email)
    genuine = services.passwords.check(password, attempt.known.password_hash)
    if attempt.is_held or not genuine or attempt.known.status != "active":
        attempt.fail()
        raise BadCredentials
    return attempt


def _upgraded_hash(session: Session, services: Services, password: str, current: str) -> str | None:
    """Return a new hash to replace an outdated one; None if the current one is up to date."""
    if not services.passwords.is_outdated(current):
        return None
    session.release()  # the hash takes long
    return services.passwords.hash(password)


def _require_second(
    session: Session, services: Services, attempt: Attempt, *, otp: str | None, now: datetime
) -> AnyRow:
    try:
        return mfa.require_second(session, services, user_id=attempt.known.user_id, otp=otp, now=now)
    except mfa.BadOtp:
        attempt.fail()
        raise
