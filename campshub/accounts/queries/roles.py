"""Reads of roles: built-in and custom ones."""

from typing import Any
from uuid import UUID

from sqlalchemy import func, select

from campshub.accounts.models import Invitation, Membership, OwnRole
from campshub.core.db.models import AnyRow
from campshub.core.db.prepared import AnySelect, prepared
from campshub.core.db.session import Session
from campshub.core.errors import NotFound
from campshub.core.security.permissions import CUSTOM, GRANTS, Grant, Role, grant_of
from campshub.core.security.principal import Principal, visible_to

COLUMNS = (
    OwnRole.id,
    OwnRole.name,
    OwnRole.permissions,
    OwnRole.scope,
    OwnRole.created_at,
    OwnRole.updated_at,
    OwnRole.version,
)


def list_roles(session: Session, principal: Principal) -> dict[str, Any]:
    """List the built-in roles, then the custom ones by name; they are few, so there is only one page."""
    own = [shown(row) for row in session.execute(_roles(principal))]
    return {"items": [*_BUILT_IN, *own], "next_cursor": None, "has_more": False}


@prepared
def _roles(principal: Principal) -> AnySelect:
    return select(*COLUMNS).where(visible_to(principal, OwnRole)).order_by(OwnRole.name_key)


def get_role(session: Session, principal: Principal, role_id: UUID) -> dict[str, Any]:
    """Return a custom role.

    :raises NotFound: the principal sees no such role.
    """
    row = session.execute(_role(principal, role_id=role_id)).one_or_none()
    if row is None:
        raise NotFound
    return shown(row)


@prepared
def _role(principal: Principal, *, role_id: UUID) -> AnySelect:
    return select(*COLUMNS).where(visible_to(principal, OwnRole), OwnRole.id == role_id)


def shown(role: AnyRow | OwnRole) -> dict[str, Any]:
    """Return a custom role in the form of the list."""
    return {"role": CUSTOM, **{column.key: getattr(role, column.key) for column in COLUMNS}}


def lock_grant(session: Session, principal: Principal, role_id: UUID) -> Grant | None:
    """Lock a custom role and return its grant; None if there is none."""
    found = session.execute(
        select(OwnRole.permissions, OwnRole.scope)
        .where(visible_to(principal, OwnRole), OwnRole.id == role_id)
        .with_for_update(read=True)
    ).one_or_none()
    return grant_of(found.permissions, found.scope) if found else None


def count_own(session: Session, principal: Principal) -> int:
    """Return the number of custom roles in the organization."""
    return session.scalar(select(func.count()).select_from(OwnRole).where(visible_to(principal, OwnRole))) or 0


def count_holders(session: Session, principal: Principal, role_id: UUID) -> tuple[int, int]:
    """Return how many users have a custom role, and how many open invitations have it."""
    members = select(func.count()).where(visible_to(principal, Membership), Membership.role_id == role_id)
    invited = select(func.count()).where(
        visible_to(principal, Invitation),
        Invitation.role_id == role_id,
        Invitation.accepted_at.is_(None),
        Invitation.revoked_at.is_(None),
        Invitation.expires_at > func.now(),
    )
    found = session.execute(select(members.scalar_subquery(), invited.scalar_subquery())).one()
    return found[0], found[1]


def _built_in(role: Role) -> dict[str, Any]:
    grant = GRANTS[role]
    nothing = dict.fromkeys(("id", "created_at", "updated_at", "version"))
    return {
        **nothing,
        "role": role.value,
        "name": role.value.capitalize(),
        "permissions": sorted(grant.permissions),
        "scope": grant.scope.value,
    }


_BUILT_IN = [_built_in(role) for role in Role]
