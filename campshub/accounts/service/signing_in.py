"""Signing in."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from campshub.accounts.models import SignInSession
from campshub.accounts.queries import signing_in as queries
from campshub.core.db.base import new_id
from campshub.core.db.session import Session
from campshub.core.http.problems import Forbidden, Unauthenticated
from campshub.core.platform import Platform
from campshub.core.security import passwords, tokens


class BadCredentials(Unauthenticated):
    """E-mail address or password is wrong."""

    code = "bad_credentials"


class NoMembership(Forbidden):
    """You do not belong to this organization."""

    code = "no_membership"


def sign_in(
    session: Session, platform: Platform, *, email: str, password: str, organization_id: UUID | None, now: datetime
) -> dict[str, Any]:
    """Check a password and open a session in an organization: the one named, else the one last used.

    :raises BadCredentials: the address or the password is wrong, or the user disabled; which, is not told.
    :raises NoMembership: the user does not belong to the organization named, or to any.
    """
    known = queries.credentials_of(session, email)
    session.let_go()  # the hash takes long; the connection must not wait for it
    kept = known.password_hash if known else None
    genuine = passwords.verify_password(password, kept, cost=platform.settings.password_cost)
    if known is None or not genuine or known.status != "active":
        raise BadCredentials
    organizations = queries.memberships_of(session, known.user_id)
    chosen = next((o for o in organizations if organization_id in (None, o.organization_id)), None)
    if chosen is None:
        raise NoMembership
    session.enter(chosen.organization_id, known.user_id)
    session_id = new_id()
    refresh_token, refresh_hash = tokens.new_refresh_token(chosen.organization_id, session_id)
    lifetime = timedelta(days=platform.settings.refresh_token_days)
    session.add(
        SignInSession(id=session_id, user_id=known.user_id, refresh_hash=refresh_hash, expires_at=now + lifetime)
    )
    access_token = platform.tokens.issue(
        user_id=known.user_id,
        organization_id=chosen.organization_id,
        session_id=session_id,
        session_version=known.session_version,
    )
    return {
        "access_token": access_token,
        "refresh_token": refresh_token,
        "token_type": "Bearer",
        "expires_in": int(platform.tokens.lifetime.total_seconds()),
        "organization_id": chosen.organization_id,
        "organizations": organizations,
    }
