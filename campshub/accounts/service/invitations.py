"""Invitations: sent by e-mail, accepted once by the owner of the address."""

import math
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select

from campshub.accounts.models import Invitation, Membership, User
from campshub.accounts.queries import invitations as queries
from campshub.accounts.queries.signing_in import credentials_of
from campshub.accounts.service import members, role_grants
from campshub.accounts.service.passwords import TokenSpent
from campshub.core.db.models import new_id
from campshub.core.db.session import Session
from campshub.core.db.unit_of_work import mark_changed
from campshub.core.errors import Conflict, Invalid, NotFound, RateLimited
from campshub.core.jobs.store import enqueue
from campshub.core.normalization import clean_email, email_key
from campshub.core.security.authorization import OrganizationSuspended
from campshub.core.security.opaque import UnknownToken, hash_of
from campshub.core.security.principal import Principal
from campshub.core.service_base import Services

INVITATION = "chi"
LASTS = timedelta(days=7)
# The number of e-mails that one address can get at once; after them, one each day.
MOST_EMAILS = 5
_EMAIL_EVERY = timedelta(days=1)
_NUMBER_BYTES = 4


class InvitationClosed(Conflict):
    """The invitation was accepted or revoked; create a new one."""

    code = "invitation_closed"
    default_detail = "The invitation was accepted or revoked; create a new one."


class TooManyLetters(RateLimited):
    """This e-mail address has received too many invitations; retry a day after the last one."""

    code = "too_many_letters"
    default_detail = "This e-mail address has received too many invitations; retry a day after the last one."


AcceptanceFollower = Callable[[Session, Invitation], None]
_acceptance_followers: list[AcceptanceFollower] = []


def follows_acceptance(follower: AcceptanceFollower) -> AcceptanceFollower:
    """Register a function that is called in the transaction that accepts an invitation, for the new member."""
    _acceptance_followers.append(follower)
    return follower


def invite(
    session: Session,
    principal: Principal,
    services: Services,
    *,
    email: str,
    now: datetime,
    role: str | None = None,
    role_id: UUID | None = None,
) -> Invitation:
    """Invite the owner of an address by e-mail; this revokes an open invitation of the same address.

    :raises RoleNotYours: the role, or that of the open invitation, allows more than the principal's own.
    :raises TooManyLetters: the address got too many e-mails recently.
    """
    role, role_id = role_grants.require_may_give(session, principal, role=role, role_id=role_id)
    number = _replace_earlier(session, principal, email, now)
    invitation = Invitation(
        id=new_id(),
        email=clean_email(email),
        email_key=email_key(email),
        role=role,
        role_id=role_id,
        invited_by=principal.user_id,
    )
    _send(session, principal, services, invitation, number=number, now=now)
    session.add(invitation)
    return invitation


def resend(
    session: Session, principal: Principal, services: Services, *, invitation_id: UUID, now: datetime
) -> Invitation:
    """Send a new link that is valid for seven days; earlier links stop working.

    :raises NotFound: there is no such invitation.
    :raises InvitationClosed: it has been accepted or revoked.
    :raises RoleNotYours: its role allows more than the principal's own.
    :raises TooManyLetters: the address got too many e-mails recently.
    """
    invitation = queries.lock_invitation(session, principal.organization_id, invitation_id)
    if invitation is None:
        raise NotFound
    if not _is_open(invitation):
        raise InvitationClosed
    role_grants.require_may_change(session, principal, invitation)
    _check_email_limit(invitation, now)
    _send(session, principal, services, invitation, number=invitation.letters + 1, now=now)
    session.flush()
    return invitation


def revoke(session: Session, principal: Principal, *, invitation_id: UUID, now: datetime) -> None:
    """Revoke an invitation.

    :raises NotFound: there is no such invitation, or it was already accepted or revoked.
    """
    invitation = queries.lock_invitation(session, principal.organization_id, invitation_id)
    if invitation is None or not _is_open(invitation):
        raise NotFound
    role_grants.require_may_change(session, principal, invitation)
    invitation.revoked_at = now


def accept(
    session: Session, services: Services, *, token: str, name: str | None, password: str | None, now: datetime
) -> dict[str, Any]:
    """Add the invited person to the organization; create the user, with name and password, if there is none.

    :raises TokenSpent: the token is not ours, or was used, revoked or has expired.
    :raises OrganizationSuspended: the organization is not active.
    :raises Invalid: the name or a good password is missing for a new user.
    """
    try:
        named = services.tokens.opaque.read(INVITATION, token)
    except UnknownToken:
        raise TokenSpent from None
    caller_row = session.enter(named.organization_id)
    if caller_row.organization_status not in (None, "active"):
        raise OrganizationSuspended
    email = _require_open(queries.find_invitation(session, named.organization_id, named.id), token, now).email
    known = credentials_of(session, email)
    hashed = "" if known else _hash_of_new(session, services, email=email, name=name, password=password)
    invitation = queries.lock_invitation(session, named.organization_id, named.id)
    invitation = _require_open(invitation, token, now)  # again, now that the row is locked
    user_id, _ = members.add_user(session, email=email, name=name or "", hashed=hashed)
    session.unit.user_id = user_id  # the actor of these changes
    invitation.accepted_at, invitation.user_id = now, user_id
    _add_membership(session, user_id, invitation)
    for follower in _acceptance_followers:
        follower(session, invitation)
    return {"organization_id": named.organization_id, "user_id": user_id, "email": email, "role": invitation.role}


def token_of(services: Services, organization_id: UUID, invitation_id: UUID, *, email_number: int = 1) -> str:
    """Derive the token of an invitation's e-mail with a number, so that sending one twice gives the same token.

    The number is 0 for e-mails from before invitations could be sent again.
    """
    secret = email_number.to_bytes(_NUMBER_BYTES, "big") if email_number else b""
    return services.tokens.opaque.write(INVITATION, organization_id, invitation_id, secret)


def _replace_earlier(session: Session, principal: Principal, email: str, now: datetime) -> int:
    """Revoke the open invitation of an address; return the number of the e-mail that replaces it.

    This locks the address until the unit of work ends: of two concurrent invitations, the second replaces the first.
    """
    earlier = queries.lock_address(session, principal.organization_id, email_key(email))
    if earlier is None or now - earlier.sent_at >= _EMAIL_EVERY:
        number = 1
    else:
        _check_email_limit(earlier, now)
        number = earlier.letters + 1
    if earlier is not None and _is_open(earlier):
        if now < earlier.expires_at:
            role_grants.require_may_change(session, principal, earlier)
        earlier.revoked_at = now
        session.flush()  # the unique index allows one open invitation
    return number


def _check_email_limit(invitation: Invitation, now: datetime) -> None:
    free_at = invitation.sent_at + _EMAIL_EVERY
    if invitation.letters >= MOST_EMAILS and now < free_at:
        raise TooManyLetters(headers={"Retry-After": str(math.ceil((free_at - now).total_seconds()))})


def _send(
    session: Session,
    principal: Principal,
    services: Services,
    invitation: Invitation,
    *,
    number: int,
    now: datetime,
) -> None:
    """Give an invitation a new token for seven days, and enqueue the e-mail with it."""
    token = token_of(services, principal.organization_id, invitation.id, email_number=number)
    invitation.letters, invitation.sent_at = number, now
    invitation.token_hash, invitation.expires_at = hash_of(token), now + LASTS
    enqueue(session, "accounts.invite", invitation_id=str(invitation.id), letter=number)


def _is_open(invitation: Invitation) -> bool:
    return invitation.accepted_at is None and invitation.revoked_at is None


def _require_open(invitation: Invitation | None, token: str, now: datetime) -> Invitation:
    is_open = (
        invitation is not None
        and invitation.token_hash == hash_of(token)
        and _is_open(invitation)
        and now < invitation.expires_at
    )
    if invitation is None or not is_open:
        raise TokenSpent
    return invitation


def _hash_of_new(session: Session, services: Services, *, email: str, name: str | None, password: str | None) -> str:
    if name is None:
        raise Invalid.at("/name", "required", "A new user needs a name.")
    if password is None:
        raise Invalid.at("/password", "required", "A new user needs a password.")
    least = queries.password_length_min(session)
    services.passwords.require_good(password, least=least, email=email)
    session.release()  # the hash takes long
    return services.passwords.hash(password)


def _add_membership(session: Session, user_id: UUID, invitation: Invitation) -> None:
    """Add a membership with the invitation's role.

    :raises AlreadyMember: the user is already a member.
    :raises MemberDisabled: the user is a disabled member; an invitation does not enable them.
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
    mark_changed(session, User)
