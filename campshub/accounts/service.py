"""Creating organizations and users, and signing in."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select

from campshub.accounts import queries
from campshub.accounts.models import Membership, Organization, SignInSession, User, UserCredential
from campshub.core.db.base import new_id
from campshub.core.db.session import Session
from campshub.core.db.work import wrote
from campshub.core.http.conditional import require_version
from campshub.core.http.problems import Conflict, Forbidden, Unauthenticated
from campshub.core.platform import Platform
from campshub.core.security import passwords, tokens
from campshub.core.security.permissions import Role
from campshub.core.security.principal import Principal


class BadCredentials(Unauthenticated):
    """E-mail address or password is wrong."""

    code = "bad_credentials"


class NoMembership(Forbidden):
    """You do not belong to this organization."""

    code = "no_membership"


class EmailTaken(Conflict):
    """This e-mail address belongs to a user already."""

    code = "email_taken"
    constraint = "uq_users_email_key"
    pointer = "/email"


def create_organization(
    session: Session, *, organization_id: UUID, name: str, time_zone: str, currency: str, locale: str = "en"
) -> Organization:
    """Create an organization; needs the system role, for which no tenant is a border."""
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
    """Create a user with a password who belongs to an organization; needs the system role.

    :raises EmailTaken: the address belongs to another user.
    """
    if session.scalar(select(User.id).where(User.email_key == queries.email_key(email))) is not None:
        raise EmailTaken
    user = User(id=new_id(), email=email.strip(), email_key=queries.email_key(email), name=name)
    session.add(user)
    session.flush()
    session.add(UserCredential(user_id=user.id, password_hash=password_hash, changed_at=now))
    session.add(Membership(organization_id=organization_id, user_id=user.id, role=role.value))
    session.flush()
    return user


def found_organization(
    session: Session,
    platform: Platform,
    *,
    admin_email: str,
    admin_name: str,
    admin_password: str,
    now: datetime,
    **organization: Any,
) -> Organization:
    """Create an organization with its first admin; the first entry of its audit log tells who did.

    :raises EmailTaken: the admin's address belongs to another user.
    """
    session.let_go()  # the hash takes long; the connection must not wait for it
    password_hash = passwords.hash_password(admin_password, cost=platform.settings.password_cost)
    organization_id = new_id()
    session.enter(organization_id, session.unit.user_id)
    founded = create_organization(session, organization_id=organization_id, **organization)
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


def change_organization(
    session: Session, principal: Principal, *, expected: int | None, **changes: Any
) -> Organization:
    """Change the organization's own settings.

    :raises PreconditionFailed: it has changed since the caller read it.
    """
    organization = session.scalars(
        select(Organization).where(Organization.id == principal.organization_id).with_for_update()
    ).one()
    require_version(organization, expected)
    for name, value in changes.items():
        setattr(organization, name, value)
    return organization


def change_me(session: Session, principal: Principal, *, expected: int | None, name: str) -> None:
    """Change the signed-in user's own name; every organization that they belong to is told.

    :raises PreconditionFailed: it has changed since the caller read it.
    """
    user = session.scalars(select(User).where(User.id == principal.user_id).with_for_update()).one()
    require_version(user, expected)
    user.name = name
    session.flush()
    for membership in queries.memberships_of(session, principal.user_id):
        wrote(session, User, membership.organization_id)
