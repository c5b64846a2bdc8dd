"""Reads of users and memberships."""

from typing import Any
from uuid import UUID

from sqlalchemy import and_, select

from campshub.accounts.models import Membership, Organization, OwnRole, User
from campshub.accounts.queries.signing_in import memberships_of
from campshub.core.db.models import AnyRow
from campshub.core.db.prepared import AnySelect, prepared
from campshub.core.db.session import Session
from campshub.core.errors import NotFound
from campshub.core.paging import Page, PageRequest
from campshub.core.security.principal import Principal, visible_to

USER_COLUMNS = (
    User.id,
    User.email,
    User.name,
    Membership.role,
    Membership.role_id,
    Membership.external_id,
    Membership.status,
    User.created_at,
    Membership.version,
)


def me(session: Session, principal: Principal) -> dict[str, Any]:
    """Return the signed-in user with their role here and their other memberships."""
    user = session.execute(_oneself(principal)).one()
    return {
        **user._mapping,  # noqa: SLF001 - SQLAlchemy's public name for it
        "organization_id": principal.organization_id,
        "role": principal.role,
        "permissions": sorted(principal.permissions),
        "scope": principal.scope,
        "organizations": [row._mapping for row in memberships_of(session, principal.user_id)],  # noqa: SLF001
    }


@prepared
def _oneself(principal: Principal) -> AnySelect:
    columns = (User.id, User.email, User.name, User.created_at, User.version)
    return (
        select(*columns, Membership.role_id, OwnRole.name.label("role_name"))
        .join(Membership, Membership.user_id == User.id)
        .outerjoin(OwnRole, and_(visible_to(principal, OwnRole), OwnRole.id == Membership.role_id))
        .where(visible_to(principal, Membership), User.id == principal.user_id)
    )


def password_length_min(session: Session, principal: Principal) -> int:
    """Return the minimum password length in the organization."""
    return session.execute(
        select(Organization.password_length_min).where(Organization.id == principal.organization_id)
    ).scalar_one()


def list_users(
    session: Session,
    principal: Principal,
    *,
    role: str | None,
    role_id: UUID | None,
    external_id: str | None,
    page: PageRequest,
) -> Page:
    """List the members of the organization."""
    return page.read(session, _users(principal, role=role, role_id=role_id, external_id=external_id, page=page))


@prepared
def _users(principal: Principal, *, role: Any, role_id: Any, external_id: Any, page: PageRequest) -> AnySelect:
    rows = (
        select(*page.choose(USER_COLUMNS))
        .join(Membership, Membership.user_id == User.id)
        .where(visible_to(principal, Membership))
    )
    if role is not None:
        rows = rows.where(Membership.role == role)
    if role_id is not None:
        rows = rows.where(Membership.role_id == role_id)
    if external_id is not None:
        rows = rows.where(Membership.external_id == external_id)
    orders = {"name": (User.sort_name, User.id), "created": (User.created_at, User.id)}
    return page.ordered(rows, order=orders[page.sort or "name"])


def get_user(session: Session, principal: Principal, user_id: UUID) -> AnyRow:
    """Return one member of the organization.

    :raises NotFound: the principal sees no such user.
    """
    row = find_user(session, principal, user_id)
    if row is None:
        raise NotFound
    return row


def find_user(session: Session, principal: Principal, user_id: UUID) -> AnyRow | None:
    """Return one member of the organization; None if the principal sees no such user."""
    return session.execute(_user(principal, user_id=user_id)).one_or_none()


def find_by_external_id(session: Session, principal: Principal, external_id: str) -> AnyRow | None:
    """Return the member with an external id; None if there is none."""
    found = select(User.id, Membership.version).join(Membership, Membership.user_id == User.id)
    return session.execute(
        found.where(visible_to(principal, Membership), Membership.external_id == external_id)
    ).one_or_none()


@prepared
def _user(principal: Principal, *, user_id: UUID) -> AnySelect:
    return (
        select(*USER_COLUMNS)
        .join(Membership, Membership.user_id == User.id)
        .where(visible_to(principal, Membership), User.id == user_id)
    )
