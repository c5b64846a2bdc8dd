"""Members of an organization: add, change the role, disable, enable."""

from collections.abc import Iterable
from datetime import datetime
from typing import TypedDict, Unpack
from uuid import UUID

from sqlalchemy import Select, and_, or_, select, text

from campshub.accounts.models import ApiKey, Invitation, Membership, User
from campshub.accounts.queries import users as queries
from campshub.accounts.service import role_grants
from campshub.accounts.service.organizations import EmailTaken
from campshub.accounts.service.sessions import end_all_here
from campshub.core.db import creates
from campshub.core.db.models import AnyRow, new_id
from campshub.core.db.session import Session
from campshub.core.db.unit_of_work import mark_changed, new_person, record_audit
from campshub.core.db.writes import Versions, require_version
from campshub.core.errors import Conflict, NotFound
from campshub.core.names import sort_key
from campshub.core.normalization import clean_email, email_key
from campshub.core.security import audit, events
from campshub.core.security.events import SecurityEventKind
from campshub.core.security.permissions import Role
from campshub.core.security.principal import Principal
from campshub.core.service_base import Services

_ADD = text("SELECT * FROM add_user(:id, :email, :email_key, :name, :sort_name, :hashed)")
_ADMINS = (Role.ADMIN.value, Role.SUPERADMIN.value)


USERS = creates.Collection(User, "/api/users/{row.id}/")


class LastAdmin(Conflict):
    """An organization needs an admin; give the role to another user first."""

    code = "last_admin"
    default_detail = "An organization needs an admin; give the role to another user first."


class MemberDisabled(Conflict):
    """Your account is disabled in this organization; an admin can enable it."""

    code = "member_disabled"
    default_detail = "Your account is disabled in this organization; an admin can enable it."


class AlreadyMember(Conflict):
    """The user is already a member of the organization."""

    code = "already_member"
    default_detail = "The user is already a member of the organization."
    constraint = "uq_memberships_user_id"


class UserExternalIdTaken(Conflict):
    """Another user of the organization has this external id."""

    code = "external_id_taken"
    default_detail = "Another user of the organization has this external id."
    constraint = "uq_memberships_external_id"
    pointer = "/external_id"


class MemberChanges(TypedDict, total=False):
    """Fields of a membership that a change may set, or clear with None."""

    external_id: str | None


def create(
    session: Session,
    principal: Principal,
    services: Services,
    *,
    email: str,
    name: str,
    password: str,
    role: str | None = None,
    role_id: UUID | None = None,
    external_id: str | None = None,
) -> AnyRow:
    """Create a user with a password as a member of the organization.

    :raises EmailTaken: the address belongs to a user of any organization; they can be invited.
    :raises RoleNotYours: the role allows more than the principal's own.
    :raises UserExternalIdTaken: another member has the external id.
    """
    role_grants.require_may_give(session, principal, role=role, role_id=role_id)
    _require_free(session, principal, external_id)
    least = queries.password_length_min(session, principal)
    services.passwords.require_good(password, least=least, email=email)
    session.release()  # the hash takes long
    hashed = services.passwords.hash(password)
    # The permissions of a custom role may have changed while the password was hashed.
    role, role_id = role_grants.require_may_give(session, principal, role=role, role_id=role_id)
    user_id, made = add_user(session, email=email, name=name, hashed=hashed)
    if not made:
        raise USERS.conflict(EmailTaken, queries.find_user(session, principal, user_id))
    membership = Membership(organization_id=principal.organization_id, user_id=user_id, role=role, role_id=role_id)
    membership.external_id = external_id
    session.add(membership)
    session.flush()
    return queries.get_user(session, principal, user_id)


def change(
    session: Session,
    principal: Principal,
    *,
    user_id: UUID,
    expected: Versions,
    now: datetime,
    role: str | None = None,
    role_id: UUID | None = None,
    status: str | None = None,
    **changes: Unpack[MemberChanges],
) -> AnyRow:
    """Change a member's role, status or external id; it takes effect at their next request.

    :raises NotFound: the principal sees no such user.
    :raises LastAdmin: no one would be left to administer the organization.
    :raises RoleNotYours: the new or the previous role allows more than the principal's own.
    :raises UserExternalIdTaken: another member has the external id.
    """
    admins = _lock_admins_and(session, principal, user_id)
    membership = admins.pop(user_id, None)
    if membership is None:
        raise NotFound
    require_version(membership, expected)
    role_grants.require_may_change(session, principal, membership)
    if "external_id" in changes and changes["external_id"] != membership.external_id:
        _require_free(session, principal, changes["external_id"])
        membership.external_id = changes["external_id"]
        session.flush()
    if role is None and role_id is None and status is None:
        return queries.get_user(session, principal, user_id)
    given = (membership.role, membership.role_id)
    if role is not None or role_id is not None:
        given = role_grants.require_may_give(session, principal, role=role, role_id=role_id)
    stays = given[0] in _ADMINS and (status or membership.status) == "active"
    if membership.role in _ADMINS and not stays:
        _require_one(session, admins)
    _apply(session, membership, given=given, status=status, now=now)
    session.flush()
    return queries.get_user(session, principal, user_id)


def _require_free(session: Session, principal: Principal, external_id: str | None) -> None:
    """Check that no member has an external id.

    :raises UserExternalIdTaken: a member has it.
    """
    holder = None if external_id is None else queries.find_by_external_id(session, principal, external_id)
    if holder is not None:
        raise USERS.conflict(UserExternalIdTaken, holder)


def add_user(session: Session, *, email: str, name: str, hashed: str) -> tuple[UUID, bool]:
    """Return the user of an address, and whether this call created them, with this name and password."""
    given = {"id": new_id(), "email": clean_email(email), "email_key": email_key(email), "name": name}
    given["sort_name"] = sort_key(name)
    user_id, made = session.execute(_ADD, {**given, "hashed": hashed}).one()
    if made:
        mark_changed(session, User)
        new_person(session, user_id)
        after = {key: value for key, value in given.items() if key != "id"} | {"status": "active"}
        personal = audit.personal_columns(User)
        record_audit(session, audit.Change("created", User.__tablename__, user_id, user_id, None, after, personal))
    return user_id, made


def _apply(
    session: Session, membership: Membership, *, given: tuple[str, UUID | None], status: str | None, now: datetime
) -> None:
    if given != (membership.role, membership.role_id):
        membership.role, membership.role_id = given
        events.record_event(session, SecurityEventKind.ROLE_CHANGED, membership.user_id)
    if status is not None and status != membership.status:
        membership.status = status
        events.record_event(
            session,
            SecurityEventKind.DISABLED if status == "disabled" else SecurityEventKind.ENABLED,
            membership.user_id,
        )
        if status == "disabled":
            end_all_here(session, membership.user_id, now=now)  # so that none works again when the user is enabled
            for key in session.scalars(_keys_of(membership)):
                key.revoked_at = now
    # Invitations to them and from them were made under their previous role or status.
    for invitation in session.scalars(_open_invitations_of(membership)):
        invitation.revoked_at = now


def _keys_of(membership: Membership) -> Select[ApiKey]:
    return select(ApiKey).where(
        ApiKey.organization_id == membership.organization_id,
        ApiKey.user_id == membership.user_id,
        ApiKey.revoked_at.is_(None),
    )


def _open_invitations_of(membership: Membership) -> Select[Invitation]:
    key = select(User.email_key).where(User.id == membership.user_id).scalar_subquery()
    return select(Invitation).where(
        Invitation.organization_id == membership.organization_id,
        Invitation.accepted_at.is_(None),
        Invitation.revoked_at.is_(None),
        or_(Invitation.invited_by == membership.user_id, Invitation.email_key == key),
    )


def _lock_admins_and(session: Session, principal: Principal, user_id: UUID) -> dict[UUID, Membership]:
    """Lock the memberships of a user and of all admins of the organization; return them by user.

    One statement locks them in a fixed order, so that concurrent calls see each other's changes and cannot deadlock.
    """
    found = session.scalars(
        select(Membership)
        .where(
            Membership.organization_id == principal.organization_id,
            or_(Membership.user_id == user_id, and_(Membership.role.in_(_ADMINS), Membership.status == "active")),
        )
        .order_by(Membership.id)
        .with_for_update()
    )
    return {membership.user_id: membership for membership in found}


def _require_one(session: Session, admins: Iterable[UUID]) -> None:
    """Require that at least one of the users can sign in.

    :raises LastAdmin: none can.
    """
    able = select(User.id).where(User.id.in_(admins), User.status == "active").limit(1)
    if session.scalar(able) is None:
        raise LastAdmin
