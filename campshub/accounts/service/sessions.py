"""Sign-in sessions: opened by a sign-in, continued by refresh tokens, ended one by one or all at once.

A session is a family of refresh tokens, of which only the last one works. Each token is derived from its predecessor
with the server's key: a client that lost a response can retry and gets the same successor. Only hashes are stored.
"""

import hmac
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select, text

from campshub.accounts.models import SignInSession, User
from campshub.accounts.queries import sessions as queries
from campshub.accounts.queries.organizations import requests_per_hour
from campshub.accounts.queries.signing_in import memberships_of, organizations_of
from campshub.core.db.models import new_id
from campshub.core.db.session import CallerRow, Session
from campshub.core.db.unit_of_work import in_separate_transaction, mark_changed
from campshub.core.errors import Forbidden, NotFound, Unauthenticated
from campshub.core.security import events
from campshub.core.security.authorization import OrganizationSuspended
from campshub.core.security.events import SecurityEventKind
from campshub.core.security.opaque import SECRET_BYTES, UnknownToken, hash_of
from campshub.core.security.principal import Principal
from campshub.core.service_base import Services

REFRESH = "chr"
RETRY_S = 10
# An access token is issued after the row is written, so it can expire later by this much.
_MARGIN = timedelta(seconds=RETRY_S + 60)
_MOST_OF_A_CLIENT = 200
_MFA_OF = text("SELECT is_required, is_confirmed FROM mfa_of(:user_id)")
_END_SESSIONS = text("SELECT end_sessions_of(:user_id, :at, :but)")

_NEVER = datetime(1970, 1, 1, tzinfo=UTC)


class BadRefreshToken(Unauthenticated):
    """The refresh token is invalid or has expired; sign in again."""

    code = "bad_refresh_token"
    default_detail = "The refresh token is invalid or has expired; sign in again."


class NoMembership(Forbidden):
    """You are not a member of this organization."""

    code = "no_membership"
    default_detail = "You are not a member of this organization."


def open_session(
    session: Session,
    services: Services,
    *,
    user_id: UUID,
    session_version: int,
    client: str | None,
    authenticated_at: datetime,
    must_enrol: bool,
    has_issuers_factor: bool = False,
) -> dict[str, Any]:
    """Open a session in the organization of the unit of work; return its first tokens."""
    unit, session_id = session.unit, new_id()
    organization_id = unit.organization_id
    if organization_id is None:
        raise RuntimeError("a session belongs to an organization")
    refresh_token = _first(services, organization_id, session_id)
    opened = SignInSession(
        id=session_id,
        user_id=user_id,
        session_version=session_version,
        created_at=unit.now,
        expires_at=unit.now + timedelta(days=services.settings.session_days),
        authenticated_at=authenticated_at,
        must_enrol=must_enrol and not has_issuers_factor,
        has_issuers_factor=has_issuers_factor,
        address=unit.address,
        user_agent=(client or "")[:_MOST_OF_A_CLIENT] or None,
    )
    _extend(opened, services, hash_of(refresh_token), unit.now)
    session.add(opened)
    return _tokens(session, services, opened, organization_id, refresh_token)


def refresh(session: Session, services: Services, *, refresh_token: str, now: datetime) -> dict[str, Any]:
    """Exchange a refresh token for the next one and a new access token.

    :raises BadRefreshToken: it is not ours, or it or its session has expired; reuse of an old one ends its session.
    :raises OrganizationSuspended: the organization is not active.
    """
    try:
        named = services.tokens.opaque.read(REFRESH, refresh_token)
    except UnknownToken:
        raise BadRefreshToken from None
    session.enter(named.organization_id)
    family = queries.lock_session(session, named.organization_id, named.id)
    if family is None:
        raise BadRefreshToken
    caller_row = session.enter(named.organization_id, family.user_id)
    _require_active(family, caller_row, now)
    successor, given = services.tokens.opaque.successor(REFRESH, refresh_token), hash_of(refresh_token)
    if hmac.compare_digest(given, family.refresh_hash):
        must_enrol = not family.has_issuers_factor and _must_enrol(session, family.user_id)
        family.previous_hash, family.must_enrol = given, must_enrol
        _extend(family, services, hash_of(successor), now)
    elif given != family.previous_hash or now - family.rotated_at > timedelta(seconds=RETRY_S):
        in_separate_transaction(session, lambda session: _end_reused(session, named.organization_id, named.id))
        raise BadRefreshToken
    return _tokens(session, services, family, named.organization_id, successor)


def renew(
    session: Session, principal: Principal, services: Services, *, session_version: int, client: str | None
) -> dict[str, Any]:
    """Move the current session to a raised session version; return its next tokens.

    The time of the last authentication does not change, so this does not allow sensitive operations.
    """
    present = queries.lock_session(session, principal.organization_id, principal.session_id)
    if present is None or present.ended_at is not None:
        return open_session(
            session,
            services,
            user_id=principal.user_id,
            session_version=session_version,
            client=client,
            authenticated_at=_NEVER,
            must_enrol=_must_enrol(session, principal.user_id),
        )
    refresh_token = _first(services, principal.organization_id, present.id)
    present.session_version = session_version
    present.previous_hash = None
    _extend(present, services, hash_of(refresh_token), session.unit.now)
    return _tokens(session, services, present, principal.organization_id, refresh_token)


def switch(
    session: Session, principal: Principal, services: Services, *, organization_id: UUID, client: str | None
) -> dict[str, Any]:
    """Open a session in another organization of the same user; the current one continues.

    :raises NoMembership: the user does not belong to it, or it is not active.
    """
    present = queries.lock_session(session, principal.organization_id, principal.session_id)
    organizations = memberships_of(session, principal.user_id)
    if organization_id not in (o.organization_id for o in organizations):
        raise NoMembership
    caller_row = session.enter(organization_id, principal.user_id)
    if caller_row.session_version is None:  # the membership was disabled just now
        raise NoMembership
    tokens = open_session(
        session,
        services,
        user_id=principal.user_id,
        session_version=caller_row.session_version,
        client=client,
        # Switching is not an authentication.
        authenticated_at=present.authenticated_at if present else session.unit.now,
        must_enrol=_must_enrol(session, principal.user_id),
        has_issuers_factor=bool(present and present.has_issuers_factor),
    )
    return {**tokens, "organizations": organizations}


def end(session: Session, principal: Principal, *, session_id: UUID | None, now: datetime) -> None:
    """End one of the user's own sessions: its access tokens stop at the next request.

    :raises NotFound: the user has no such session in this organization.
    """
    ended = queries.lock_session(session, principal.organization_id, session_id)
    if ended is None or ended.user_id != principal.user_id or ended.ended_at is not None:
        raise NotFound
    _end(session, ended, SecurityEventKind.SESSION_ENDED, now)


def sign_out(session: Session, principal: Principal, *, now: datetime) -> None:
    """End the current session."""
    present = queries.lock_session(session, principal.organization_id, principal.session_id)
    if present is not None and present.ended_at is None:
        _end(session, present, SecurityEventKind.SESSION_ENDED, now)


def sign_out_everywhere(session: Session, principal: Principal) -> None:
    """End all of the principal's sessions."""
    end_everywhere(session, principal.user_id)


def end_everywhere(session: Session, user_id: UUID) -> None:
    """End all sessions of a user, in every organization, at the next request."""
    user = session.scalars(select(User).where(User.id == user_id).with_for_update()).one()
    user.session_version += 1
    events.record_event(session, SecurityEventKind.SIGNED_OUT_EVERYWHERE, user.id)
    session.flush()
    mark_user_changed(session, user.id)


def mark_user_changed(session: Session, user_id: UUID) -> None:
    """Mark a user as changed in every organization of theirs."""
    for organization_id in organizations_of(session, user_id):
        mark_changed(session, User, organization_id)


def end_all_here(session: Session, user_id: UUID, *, now: datetime, but: UUID | None = None) -> None:
    """End a user's sessions in the current organization, except ``but``."""
    session.execute(_END_SESSIONS, {"user_id": user_id, "at": now, "but": but})
    mark_changed(session, SignInSession)
    mark_changed(session, User)


def _require_active(family: SignInSession, caller_row: CallerRow, now: datetime) -> None:
    """Refuse a session that has ended or expired, or whose user is no longer a member.

    :raises BadRefreshToken: it has.
    :raises OrganizationSuspended: the organization is not active.
    """
    has_ended = family.ended_at is not None or now >= min(family.idle_until, family.expires_at)
    if has_ended or caller_row.role is None or caller_row.session_version != family.session_version:
        raise BadRefreshToken
    if caller_row.organization_status != "active":
        raise OrganizationSuspended


def _first(services: Services, organization_id: UUID, session_id: UUID) -> str:
    return services.tokens.opaque.write(REFRESH, organization_id, session_id, secrets.token_bytes(SECRET_BYTES))


def _must_enrol(session: Session, user_id: UUID) -> bool:
    """Return whether the role requires a second factor that the user does not have."""
    has = session.execute(_MFA_OF, {"user_id": user_id}).one()
    return bool(has.is_required and not has.is_confirmed)


def _extend(family: SignInSession, services: Services, hashed: bytes, now: datetime) -> None:
    family.refresh_hash, family.rotated_at = hashed, now
    family.idle_until = now + timedelta(days=services.settings.refresh_token_days)
    family.access_until = now + services.tokens.lifetime + _MARGIN


def _end_reused(session: Session, organization_id: UUID, session_id: UUID) -> None:
    family = queries.lock_session(session, organization_id, session_id)
    if family is not None and family.ended_at is None:
        _end(session, family, SecurityEventKind.REFRESH_REUSED, session.unit.now)


def _end(session: Session, ended: SignInSession, kind: SecurityEventKind, now: datetime) -> None:
    ended.ended_at = now
    events.record_event(session, kind, ended.user_id)
    mark_changed(session, User)  # the caller state lists the ended sessions


def _tokens(
    session: Session, services: Services, family: SignInSession, organization_id: UUID, refresh_token: str
) -> dict[str, Any]:
    access_token = services.tokens.issue(
        user_id=family.user_id,
        organization_id=organization_id,
        session_id=family.id,
        session_version=family.session_version,
        must_enrol=family.must_enrol,
        requests_per_hour=requests_per_hour(session, organization_id),
    )
    return {
        "access_token": access_token,
        "refresh_token": refresh_token,
        "token_type": "Bearer",
        "expires_in": int(services.tokens.lifetime.total_seconds()),
        "organization_id": organization_id,
    }
