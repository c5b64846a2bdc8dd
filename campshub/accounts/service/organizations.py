"""Create organizations with their first users, and change them."""

from collections.abc import Callable
from datetime import datetime
from typing import TypedDict, Unpack
from uuid import UUID

from sqlalchemy import select

from campshub.accounts.models import Membership, Organization, User, UserCredential
from campshub.accounts.queries import roles
from campshub.core.db.models import new_id, read_id
from campshub.core.db.session import Session
from campshub.core.db.writes import Versions, require_version
from campshub.core.errors import Conflict, FieldError, UnknownReference
from campshub.core.names import sort_key
from campshub.core.normalization import clean_email, email_key
from campshub.core.security import passwords
from campshub.core.security.permissions import Role
from campshub.core.security.principal import Principal
from campshub.core.service_base import Services


class EmailTaken(Conflict):
    """Another user has this e-mail address."""

    code = "email_taken"
    default_detail = "Another user has this e-mail address."
    constraint = "uq_users_email_key"
    pointer = "/email"


ZoneFollower = Callable[[Session, Organization, str], None]
_zone_followers: list[ZoneFollower] = []


def follows_time_zone(follower: ZoneFollower) -> ZoneFollower:
    """Register a function that recomputes stored instants in the transaction that changes the time zone.

    It gets the organization, and the name of its former time zone.
    """
    _zone_followers.append(follower)
    return follower


def lock_time_zone(session: Session, organization_id: UUID) -> str:
    """Lock the organization's time zone against changes until the transaction ends, and return it.

    Call this before locking rows with instants that depend on the time zone: a change of the time zone locks in this
    order.
    """
    zone: str = session.scalars(
        select(Organization.time_zone).where(Organization.id == organization_id).with_for_update(read=True)
    ).one()
    return zone


def create_organization(
    session: Session, *, organization_id: UUID, name: str, time_zone: str, currency: str, locale: str = "en"
) -> Organization:
    """Create an organization; needs the system role, which is not limited to one tenant."""
    organization = Organization(
        id=organization_id, name=name, time_zone=time_zone, currency=currency, locale=locale, status="active"
    )
    session.add(organization)
    session.flush()
    return organization


def create_user(
    session: Session,
    *,
    organization_id: UUID,
    email: str,
    name: str,
    role: Role,
    password_hash: str,
    now: datetime,
) -> User:
    """Create a user with a password as a member of an organization; needs the system role.

    :raises EmailTaken: the address belongs to another user.
    """
    if session.scalar(select(User.id).where(User.email_key == email_key(email))) is not None:
        raise EmailTaken
    user = User(id=new_id(), email=clean_email(email), email_key=email_key(email), name=name, sort_name=sort_key(name))
    session.add(user)
    session.flush()
    session.add(UserCredential(user_id=user.id, password_hash=password_hash, changed_at=now))
    session.add(Membership(organization_id=organization_id, user_id=user.id, role=role.value))
    session.flush()
    return user


def found_organization(
    session: Session,
    services: Services,
    *,
    admin_email: str,
    admin_name: str,
    admin_password: str,
    name: str,
    time_zone: str,
    currency: str,
    locale: str,
    now: datetime,
) -> Organization:
    """Create an organization with its first admin, recorded in its audit log.

    :raises EmailTaken: the admin's address belongs to another user.
    """
    services.passwords.require_good(
        admin_password, least=passwords.SHORTEST, email=admin_email, pointer="/admin_password"
    )
    session.release()  # the hash takes long; the connection must not wait for it
    password_hash = services.passwords.hash(admin_password)
    organization_id = new_id()
    session.enter(organization_id, session.unit.user_id)
    founded = create_organization(
        session, organization_id=organization_id, name=name, time_zone=time_zone, currency=currency, locale=locale
    )
    create_user(
        session,
        organization_id=organization_id,
        email=admin_email,
        name=admin_name,
        role=Role.ADMIN,
        password_hash=password_hash,
        now=now,
    )
    return founded


class OrganizationChanges(TypedDict, total=False):
    """Fields of an organization that a change may have."""

    name: str
    time_zone: str
    currency: str
    locale: str
    password_length_min: int
    submit_after_hours: int | None
    lock_after_days: int | None
    session_days_ahead: int
    register_alert_after_minutes: int | None
    register_alert_admins_after_minutes: int | None
    absence_notice_after_minutes: int | None
    mfa_roles: list[str]
    late_after_minutes: int | None
    left_early_before_minutes: int | None
    check_in_days_back: int
    check_in_networks: list[str]
    check_in_ways: list[str]
    at_risk_rate: int | None
    at_risk_weeks: int
    at_risk_absences: int | None
    at_risk_days_away: int | None
    guardians_see_training: bool
    open_gym_hours: int
    open_gym_closes_at: str | None


def change_organization(
    session: Session, principal: Principal, *, expected: Versions, **changes: Unpack[OrganizationChanges]
) -> Organization:
    """Change the organization's own settings.

    :raises PreconditionFailed: it has changed since the caller read it.
    :raises UnknownReference: a role is neither built in nor one of the organization's custom roles.
    """
    organization = session.scalars(
        select(Organization).where(Organization.id == principal.organization_id).with_for_update()
    ).one()
    require_version(organization, expected)
    if "mfa_roles" in changes:
        changes["mfa_roles"] = _known_roles(session, principal, changes["mfa_roles"])
    time_zone = organization.time_zone
    for name, value in changes.items():
        setattr(organization, name, value)
    if organization.time_zone != time_zone:
        for follower in _zone_followers:
            follower(session, organization, time_zone)
    return organization


def _known_roles(session: Session, principal: Principal, named: list[str]) -> list[str]:
    """Return roles as they are stored: built-in ones by name, custom ones by id, without duplicates."""
    known, unknown = [], []
    for number, name in enumerate(named):
        if name in set(Role):
            known.append(name)
        elif (role_id := read_id(name)) is not None and roles.lock_grant(session, principal, role_id) is not None:
            known.append(str(role_id))
        else:
            unknown.append(FieldError(f"/mfa_roles/{number}", "unknown_reference", "No such role."))
    if unknown:
        raise UnknownReference.of(unknown)
    return list(dict.fromkeys(known))
