"""Invitations: sent by e-mail, accepted once by whoever has the address."""

import math
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select

from campshub.accounts.models import Invitation, Membership, User
from campshub.accounts.queries import invitations as queries
from campshub.accounts.queries.signing_in import credentials_of
from campshub.accounts.service import giving, members
from campshub.accounts.service.passwords import TokenSpent
from campshub.core.db.models import new_id
from campshub.core.db.session import Session
from campshub.core.db.unit_of_work import mark_changed
from campshub.core.errors import Conflict, Invalid, NotFound, RateLimited
from campshub.core.jobs.store import enqueue
from campshub.core.normalization import clean_email, email_key
from campshub.core.security.grants import OrganizationSuspended
from campshub.core.security.opaque import NotOurs, hash_of
from campshub.core.security.principal import Principal
from campshub.core.service_base import Services

INVITATION = "chi"
LASTS = timedelta(days=7)
# So many e-mails with a link one address is sent at once; from then on one each day.
LETTERS = 5
_LETTER_EVERY = timedelta(days=1)
_LETTER_BYTES = 4


class InvitationClosed(Conflict):
    """This invitation has been accepted or revoked; invite again."""

    code = "invitation_closed"
    default_detail = "This invitation has been accepted or revoked; invite again."


class TooManyLetters(RateLimited):
    """This address was sent several invitations already; the next one can be sent a day after the last."""

    code = "too_many_letters"
    default_detail = "This address was sent several invitations already; the next one can be sent a day after the last."


def invite(
    session: Session,
    services: Services,
    principal: Principal,
    *,
    email: str,
    now: datetime,
    role: str | None = None,
    role_id: UUID | None = None,
) -> Invitation:
    """Invite the owner of an address by e-mail; an open invitation of the same address is revoked.

    :raises RoleNotYours: the role allows more than the principal's own, or that of the open invitation does.
    :raises TooManyLetters: the address was sent too many e-mails lately.
    """
    role, role_id = giving.require_may_give(session, principal, role=role, role_id=role_id)
    letters = _replace_earlier(session, principal, email, now)
    invitation = Invitation(
        id=new_id(),
        email=clean_email(email),
        email_key=email_key(email),
        role=role,
        role_id=role_id,
        invited_by=principal.user_id,
    )
    _send(session, services, principal, invitation, letters=letters, now=now)
    session.add(invitation)
    return invitation


def resend(
    session: Session, services: Services, principal: Principal, *, invitation_id: UUID, now: datetime
) -> Invitation:
    """Send a new link for seven more days; the links before do not work any more.

    :raises NotFound: there is no such invitation.
    :raises InvitationClosed: it has been accepted or revoked.
    :raises RoleNotYours: its role allows more than the principal's own.
    :raises TooManyLetters: the address was sent too many e-mails lately.
    """
    invitation = queries.lock_invitation(session, principal.organization_id, invitation_id)
    if invitation is None:
        raise NotFound
    if not _is_open(invitation):
        raise InvitationClosed
    giving.require_may_change(session, principal, invitation)
    _require_room(invitation, now)
    _send(session, services, principal, invitation, letters=invitation.letters + 1, now=now)
    session.flush()
    return invitation


def revoke(session: Session, principal: Principal, *, invitation_id: UUID, now: datetime) -> None:
    """Take an invitation back.

    :raises NotFound: there is none, or it has been accepted or taken back already.
    """
    invitation = queries.lock_invitation(session, principal.organization_id, invitation_id)
    if invitation is None or not _is_open(invitation):
        raise NotFound
    giving.require_may_change(session, principal, invitation)
    invitation.revoked_at = now


def accept(
    session: Session, services: Services, *, token: str, name: str | None, password: str | None, now: datetime
) -> dict[str, Any]:
    """Let whoever was invited belong; who is no user yet becomes one, with a name and a password.

    :raises TokenSpent: the token is not ours, has been used or taken back, or has run out.
    :raises OrganizationSuspended: the organization is not active.
    :raises Invalid: a new user gave no name, or no good password.
    """
    try:
        named = services.tokens.opaque.read(INVITATION, token)
    except NotOurs:
        raise TokenSpent from None
    caller_row = session.enter(named.organization_id)
    if caller_row.organization_status not in (None, "active"):
        raise OrganizationSuspended
    email = _require_open(queries.find_invitation(session, named.organization_id, named.id), token, now).email
    known = credentials_of(session, email)
    hashed = "" if known else _hash_of_new(session, services, email=email, name=name, password=password)
    invitation = queries.lock_invitation(session, named.organization_id, named.id)
    invitation = _require_open(invitation, token, now)  # as it is now that nobody else can change it
    user_id, _ = members.add_user(session, email=email, name=name or "", hashed=hashed)
    session.unit.user_id = user_id  # who does all this
    invitation.accepted_at, invitation.user_id = now, user_id
    _let_belong(session, user_id, invitation)
    return {"organization_id": named.organization_id, "user_id": user_id, "email": email, "role": invitation.role}


def token_of(services: Services, organization_id: UUID, invitation_id: UUID, *, letter: int = 1) -> str:
    """Return the token in an invitation's e-mail of a number; it is derived, so that one sent twice holds the same.

    Those from before invitations could be sent again have the number 0.
    """
    secret = letter.to_bytes(_LETTER_BYTES, "big") if letter else b""
    return services.tokens.opaque.write(INVITATION, organization_id, invitation_id, secret)


def _replace_earlier(session: Session, principal: Principal, email: str, now: datetime) -> int:
    """Revoke the open invitation of an address; return the number of the e-mail that replaces it.

    The address is locked until the unit of work ends: of two who invite it at once, the second replaces the first.
    """
    earlier = queries.lock_address(session, principal.organization_id, email_key(email))
    if earlier is None or now - earlier.sent_at >= _LETTER_EVERY:
        letters = 1
    else:
        _require_room(earlier, now)
        letters = earlier.letters + 1
    if earlier is not None and _is_open(earlier):
        if now < earlier.expires_at:
            giving.require_may_change(session, principal, earlier)
        earlier.revoked_at = now
        session.flush()  # the index lets in one that is open
    return letters


def _require_room(invitation: Invitation, now: datetime) -> None:
    free_at = invitation.sent_at + _LETTER_EVERY
    if invitation.letters >= LETTERS and now < free_at:
        raise TooManyLetters(headers={"Retry-After": str(math.ceil((free_at - now).total_seconds()))})


def _send(
    session: Session,
    services: Services,
    principal: Principal,
    invitation: Invitation,
    *,
    letters: int,
    now: datetime,
) -> None:
    """Give an invitation a new token for seven days, and enqueue the e-mail that holds it."""
    token = token_of(services, principal.organization_id, invitation.id, letter=letters)
    invitation.letters, invitation.sent_at = letters, now
    invitation.token_hash, invitation.expires_at = hash_of(token), now + LASTS
    enqueue(session, "accounts.invite", invitation_id=str(invitation.id), letter=letters)


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
    mark_changed(session, User)
