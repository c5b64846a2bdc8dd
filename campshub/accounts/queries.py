"""Who belongs: reads of organizations, users and memberships."""

from typing import Any
from uuid import UUID

from sqlalchemy import Text, func, select, text

from campshub.accounts.models import Membership, Organization, User
from campshub.core.db.base import AnyRow
from campshub.core.db.prepared import AnySelect, prepared
from campshub.core.db.session import Session
from campshub.core.http.pagination import Page, PageRequest
from campshub.core.http.problems import NotFound
from campshub.core.security.principal import Principal, visible_to

_CREDENTIALS = text("SELECT * FROM credentials_of(:email_key)")
_MEMBERSHIPS = text("SELECT * FROM memberships_of(:user_id)")

USER_COLUMNS = (User.id, User.email, User.name, Membership.role, Membership.status, User.created_at, User.version)


def email_key(email: str) -> str:
    """Return an e-mail address as it is compared."""
    return email.strip().casefold()


def credentials_of(session: Session, email: str) -> AnyRow | None:
    """Return id, status, session version and password hash of the user with an e-mail address."""
    return session.execute(_CREDENTIALS, {"email_key": email_key(email)}).one_or_none()


def memberships_of(session: Session, user_id: UUID) -> list[AnyRow]:
    """Return the active organizations that a user belongs to, the one last used first."""
    return list(session.execute(_MEMBERSHIPS, {"user_id": user_id}))


def me(session: Session, principal: Principal) -> dict[str, Any]:
    """Return the signed-in user, their role here, and where else they belong."""
    user = session.execute(_oneself(principal)).one()
    return {
        **user._mapping,  # noqa: SLF001 - SQLAlchemy's public name for it
        "organization_id": principal.organization_id,
        "role": principal.role,
        "permissions": sorted(principal.permissions),
        "organizations": [row._mapping for row in memberships_of(session, principal.user_id)],  # noqa: SLF001
    }


@prepared
def _oneself(principal: Principal) -> AnySelect:
    return select(User.id, User.email, User.name, User.created_at, User.version).where(User.id == principal.user_id)


def my_organization(session: Session, principal: Principal) -> AnyRow:
    """Return the organization that the principal is signed in to."""
    return session.execute(_organization(principal)).one()


@prepared
def _organization(principal: Principal) -> AnySelect:
    columns = (
        Organization.id,
        Organization.name,
        Organization.status,
        Organization.time_zone,
        Organization.currency,
        Organization.locale,
        Organization.created_at,
        Organization.updated_at,
        Organization.version,
    )
    return select(*columns).where(Organization.id == principal.organization_id)


def list_users(session: Session, principal: Principal, *, role: str | None, page: PageRequest) -> Page:
    """List the users who belong to the organization."""
    return page.read(session, _users(principal, role=role, page=page))


@prepared
def _users(principal: Principal, *, role: Any, page: PageRequest) -> AnySelect:
    rows = (
        select(*page.choose(USER_COLUMNS))
        .join(Membership, Membership.user_id == User.id)
        .where(visible_to(principal, Membership))
    )
    if role is not None:
        rows = rows.where(Membership.role == role)
    orders = {"name": (func.lower(User.name, type_=Text()), User.id), "created": (User.created_at, User.id)}
    return page.ordered(rows, order=orders[page.sort or "name"])


def get_user(session: Session, principal: Principal, user_id: UUID) -> AnyRow:
    """Return one user who belongs to the organization.

    :raises NotFound: the principal sees no such user.
    """
    row = session.execute(_user(principal, user_id=user_id)).one_or_none()
    if row is None:
        raise NotFound
    return row


@prepared
def _user(principal: Principal, *, user_id: UUID) -> AnySelect:
    return (
        select(*USER_COLUMNS)
        .join(Membership, Membership.user_id == User.id)
        .where(visible_to(principal, Membership), User.id == user_id)
    )
