"""Sign-in with an ID token of another issuer, which is exchanged once for our tokens.

This never creates a user. An identity belongs to the user who has linked it, or to the user with the e-mail address
that a trusted issuer has verified.
"""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select, text

from campshub.accounts.models import User
from campshub.accounts.queries import signing_in as queries
from campshub.accounts.service import attempts, mfa, sessions
from campshub.accounts.service.sessions import NoMembership
from campshub.core.db.models import AnyRow, new_id
from campshub.core.db.session import Session
from campshub.core.errors import Conflict, Invalid, NotFound
from campshub.core.security import events
from campshub.core.security.events import SecurityEventKind
from campshub.core.security.oidc import LEEWAY_S, BadIdToken, VerifiedIdentity
from campshub.core.security.principal import Principal
from campshub.core.service_base import Services

MOST_IDENTITIES = 20
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)
# Tolerance for a database clock that is behind ours.
_MARGIN = timedelta(seconds=LEEWAY_S + 600)
_EXCHANGE = text("SELECT exchange_id_token(:digest, :until)")
_LINK = text("SELECT * FROM link_identity(:id, :issuer, :subject, :user_id)")
_UNLINK = text("SELECT unlink_identity(:user_id, :id)")


class IdentityTaken(Conflict):
    """The identity is linked to another user."""

    code = "identity_taken"
    default_detail = "The identity is linked to another user."


class TooManyIdentities(Conflict):
    """You have the maximum number of linked identities; remove one first."""

    code = "too_many_identities"
    default_detail = "You have the maximum number of linked identities; remove one first."


def sign_in(
    session: Session,
    services: Services,
    *,
    id_token: str,
    issuer: str | None,
    nonce: str | None,
    organization_id: UUID | None,
    otp: str | None,
    client: str | None,
    now: datetime,
) -> dict[str, Any]:
    """Exchange an ID token for tokens of ``organization_id``, else of the organization last used.

    :raises BadIdToken: it is not valid, was exchanged before, or its user may not sign in; all give the same response.
    :raises OtpRequired: the user has a second factor, the code is missing, and the issuer's factor does not count.
    :raises BadOtp: the code is wrong, or was used before.
    :raises NoMembership: the user is not a member of ``organization_id``, or of any organization.
    """
    shown = _read(session, services, id_token, issuer=issuer, nonce=nonce)
    known = _user_of(session, shown)
    organizations = queries.memberships_of(session, known.user_id)
    chosen = next((o for o in organizations if organization_id in (None, o.organization_id)), None)
    if chosen is None:
        raise NoMembership
    session.enter(chosen.organization_id, known.user_id)
    has = _authenticate(session, services, shown, known, otp=otp, now=now)
    opened = sessions.open_session(
        session,
        services,
        user_id=known.user_id,
        session_version=known.session_version,
        client=client,
        # Sensitive operations need the time of authentication, not the time of this sign-in.
        authenticated_at=min(now, shown.authenticated_at or _NEVER),
        must_enrol=bool(has.is_required and not has.is_confirmed),
        has_issuers_factor=shown.has_second_factor,
    )
    return {**opened, "organizations": organizations}


def link(
    session: Session,
    principal: Principal,
    services: Services,
    *,
    id_token: str,
    issuer: str | None,
    nonce: str | None,
    now: datetime,
) -> dict[str, Any]:
    """Link the identity of an ID token to the signed-in user; this uses the token up.

    :raises StepUpRequired: the password was not confirmed recently.
    :raises Invalid: the token is not valid, or was exchanged before.
    :raises IdentityTaken: the identity belongs to another user.
    :raises TooManyIdentities: the user has the maximum number of identities.
    """
    mfa.require_recent(session, principal, services, now)
    try:
        shown = _read(session, services, id_token, issuer=issuer, nonce=nonce)
    except BadIdToken:
        raise _no_good_token() from None
    if not _is_first(session, shown):
        raise _no_good_token()
    if len(queries.identities_of(session, principal.user_id)) >= MOST_IDENTITIES:
        raise TooManyIdentities
    linked = _linked(session, shown, principal.user_id)
    return {"id": linked.identity_id, "issuer": shown.issuer, "subject": shown.subject, "created_at": linked.at}


def unlink(session: Session, principal: Principal, services: Services, *, identity_id: UUID, now: datetime) -> None:
    """Remove one of the signed-in user's identities.

    :raises NotFound: they have no such identity.
    :raises StepUpRequired: the password was not confirmed recently.
    """
    if identity_id not in (row.id for row in queries.identities_of(session, principal.user_id)):
        raise NotFound
    mfa.require_recent(session, principal, services, now)
    if not session.scalar(_UNLINK, {"user_id": principal.user_id, "id": identity_id}):
        raise NotFound
    events.record_event(session, SecurityEventKind.IDENTITY_UNLINKED, principal.user_id)


def _read(
    session: Session, services: Services, id_token: str, *, issuer: str | None, nonce: str | None
) -> VerifiedIdentity:
    session.release()  # fetching the issuer's keys may be slow
    try:
        return services.oidc.read(id_token, issuer=issuer, nonce=nonce)
    except BadIdToken:
        attempts.record_failure(session, None, SecurityEventKind.ID_TOKEN_REFUSED)
        raise


def _authenticate(
    session: Session, services: Services, shown: VerifiedIdentity, known: AnyRow, *, otp: str | None, now: datetime
) -> AnyRow:
    """Require the second factor if there is one, and use the token up; return the factor's state."""
    has = mfa.show(session, known.user_id)
    if has.is_confirmed and not shown.has_second_factor:
        _require_second(session, services, known, otp=otp, now=now)
    if not _is_first(session, shown):
        raise _refusal(session, known)
    if not known.is_linked:
        _link_by_email(session, shown, known)
    return has


def _user_of(session: Session, shown: VerifiedIdentity) -> AnyRow:
    """Return the user of an identity: it is linked to them, or can be linked by their e-mail address.

    :raises BadIdToken: there is no such user, or they are disabled.
    """
    known = queries.user_of_identity(session, issuer=shown.issuer, subject=shown.subject, email=shown.email)
    if known is None or known.status not in (("active",) if known.is_linked else ("active", "invited")):
        raise _refusal(session, known)
    return known


def _refusal(session: Session, known: AnyRow | None) -> BadIdToken:
    """Record that a valid token was refused; return the error."""
    attempts.record_failure(session, known.user_id if known else None, SecurityEventKind.ID_TOKEN_REFUSED)
    return BadIdToken()


def _no_good_token() -> Invalid:
    return Invalid.at("/id_token", "refused", "Not a valid ID token, or used before.")


def _require_second(session: Session, services: Services, known: AnyRow, *, otp: str | None, now: datetime) -> None:
    """Check and use up a code; a wrong one counts as a failed attempt, as with a password.

    :raises OtpRequired: the code is missing.
    :raises BadOtp: the code is wrong, was used before, or the account is locked out.
    """
    if otp is None:
        raise mfa.OtpRequired
    attempt = attempts.begin(session, services, known.email)
    if attempt.is_held:
        attempt.fail()
        raise mfa.BadOtp
    try:
        mfa.require_second(session, services, user_id=known.user_id, otp=otp, now=now)
    except mfa.BadOtp:
        attempt.fail()
        raise
    attempt.succeed(upgraded=None)


def _is_first(session: Session, shown: VerifiedIdentity) -> bool:
    """Record the exchange of a token with this unit's commit; return whether it is the first one."""
    return bool(session.scalar(_EXCHANGE, {"digest": shown.digest, "until": shown.expires_at + _MARGIN}))


def _link_by_email(session: Session, shown: VerifiedIdentity, known: AnyRow) -> None:
    """Link the identity to the user with its e-mail address; a user who was only invited becomes active.

    :raises BadIdToken: the identity was linked to another user meanwhile.
    """
    try:
        _linked(session, shown, known.user_id)
    except IdentityTaken:
        raise _refusal(session, known) from None
    if known.status == "invited":
        user = session.scalars(select(User).where(User.id == known.user_id).with_for_update()).one()
        user.status = "active"
        session.flush()
        sessions.mark_user_changed(session, known.user_id)


def _linked(session: Session, shown: VerifiedIdentity, user_id: UUID) -> AnyRow:
    given = {"id": new_id(), "issuer": shown.issuer, "subject": shown.subject, "user_id": user_id}
    row = session.execute(_LINK, given).one()
    if row.user_id != user_id:
        raise IdentityTaken
    if row.identity_id == given["id"]:
        events.record_event(session, SecurityEventKind.IDENTITY_LINKED, user_id)
    return row
