"""Invitations: sent by e-mail, accepted once by whoever has the address."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select

from campshub.accounts.models import Invitation, Membership, User
from campshub.accounts.queries import invitations as queries
from campshub.accounts.queries.signing_in import credentials_of
from campshub.accounts.service import giving, members
from campshub.accounts.service.passwords import TokenSpent
from campshub.core.db.base import new_id
from campshub.core.db.session import Session
from campshub.core.db.work import wrote
from campshub.core.http.call import OrganizationSuspended
from campshub.core.http.problems import Invalid, NotFound
from campshub.core.jobs.outbox import enqueue
from campshub.core.platform import Platform
from campshub.core.security.opaque import NotOurs, hash_of
from campshub.core.security.principal import Principal

INVITATION = "chi"
LASTS = timedelta(days=7)


def invite(
    session: Session,
    platform: Platform,
    principal: Principal,
    *,
    email: str,
    now: datetime,
    role: str | None = None,
    role_id: UUID | None = None,
) -> Invitation:
    """Invite whoever has an address, and owe them a letter.

    :raises RoleNotYours: the role allows more than the principal's own.
    """
    role, role_id = giving.require_may_give(session, principal, role=role, role_id=role_id)
    invitation_id = new_id()
    token = token_of(platform, principal.organization_id, invitation_id)
    invitation = Invitation(
        id=invitation_id,
        email=email.strip(),
        role=role,
        role_id=role_id,
        invited_by=principal.user_id,
        token_hash=hash_of(token),
        expires_at=now + LASTS,
    )
    session.add(invitation)
    enqueue(session, "accounts.invite", invitation_id=str(invitation_id))
    return invitation


def revoke(session: Session, principal: Principal, *, invitation_id: UUID, now: datetime) -> None:
    """Take an invitation back.

    :raises NotFound: there is none, or it has been accepted or taken back already.
    """
    invitation = queries.lock_invitation(session, principal.organization_id, invitation_id)
    if invitation is None or invitation.accepted_at is not None or invitation.revoked_at is not None:
        raise NotFound
    giving.require_may_change(session, principal, invitation)
    invitation.revoked_at = now


def accept(
    session: Session, platform: Platform, *, token: str, name: str | None, password: str | None, now: datetime
) -> dict[str, Any]:
    """Let whoever was invited belong; who is no user yet becomes one, with a name and a password.

    :raises TokenSpent: the token is not ours, has been used or taken back, or has run out.
    :raises OrganizationSuspended: the organization is not active.
    :raises Invalid: a new user gave no name, or no good password.
    """
    try:
        named = platform.tokens.opaque.read(INVITATION, token)
    except NotOurs:
        raise TokenSpent from None
    entered = session.enter(named.organization_id)
    if entered.organization_status not in (None, "active"):
        raise OrganizationSuspended
    email = _require_open(queries.find_invitation(session, named.organization_id, named.id), token, now).email
    known = credentials_of(session, email)
    hashed = "" if known else _hash_of_new(session, platform, email=email, name=name, password=password)
    invitation = queries.lock_invitation(session, named.organization_id, named.id)
    invitation = _require_open(invitation, token, now)  # as it is now that nobody else can change it
    user_id, _ = members.add_user(session, email=email, name=name or "", hashed=hashed)
    session.unit.user_id = user_id  # who does all this
    invitation.accepted_at, invitation.user_id = now, user_id
    _let_belong(session, user_id, invitation)
    return {"organization_id": named.organization_id, "user_id": user_id, "email": email, "role": invitation.role}


def token_of(platform: Platform, organization_id: UUID, invitation_id: UUID) -> str:
    """Return the token of an invitation; it is derived, so that a letter sent twice holds the same."""
    return platform.tokens.opaque.write(INVITATION, organization_id, invitation_id)


def _require_open(invitation: Invitation | None, token: str, now: datetime) -> Invitation:
    is_open = (
        invitation is not None
        and invitation.token_hash == hash_of(token)
        and invitation.accepted_at is None
        and invitation.revoked_at is None
        and now < invitation.expires_at
    )
    if invitation is None or not is_open:
        raise TokenSpent
    return invitation


def _hash_of_new(session: Session, platform: Platform, *, email: str, name: str | None, password: str | None) -> str:
    if name is None:
        raise Invalid.at("/name", "required", "A new user needs a name.")
    if password is None:
        raise Invalid.at("/password", "required", "A new user needs a password.")
    least = queries.password_length_min(session)
    platform.passwords.require_good(password, least=least, email=email)
    session.let_go()  # the hash takes long
    return platform.passwords.hash(password)


def _let_belong(session: Session, user_id: UUID, invitation: Invitation) -> None:
    """Give a user the role; one who belongs already keeps theirs.

    :raises AlreadyMember: they belong already.
    :raises MemberDisabled: they did, and were disabled; no letter takes that back.
    """
    organization_id, role, role_id = invitation.organization_id, invitation.role, invitation.role_id
    membership = session.scalars(
        select(Membership)
        .where(Membership.organization_id == organization_id, Membership.user_id == user_id)
        .with_for_update()
    ).one_or_none()
    if membership is None:
        session.add(Membership(organization_id=organization_id, user_id=user_id, role=role, role_id=role_id))
    elif membership.status == "active":
        raise members.AlreadyMember
    else:
        raise members.MemberDisabled
    session.flush()
    wrote(session, User)
