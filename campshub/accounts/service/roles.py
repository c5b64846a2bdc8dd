"""Custom roles of an organization: create, change, delete."""

import unicodedata
from collections.abc import Sequence
from typing import Any, TypedDict, Unpack
from uuid import UUID

from sqlalchemy import select

from campshub.accounts.models import Invitation, Organization, OwnRole
from campshub.accounts.queries import roles as queries
from campshub.accounts.service.role_grants import require_covers
from campshub.core.db import creates
from campshub.core.db.session import Session
from campshub.core.db.writes import Versions, clear_references, lock
from campshub.core.errors import Conflict
from campshub.core.security.permissions import PERSONAL, ROLE_NAMES, grant_of
from campshub.core.security.principal import Principal

MOST_OWN = 100
_RESERVED = frozenset(ROLE_NAMES)


class RoleNameTaken(Conflict):
    """The organization has a role of this name; so has the platform, among the built-in ones."""

    code = "role_name_taken"
    default_detail = "The organization, or the platform's built-in roles, has a role with this name."
    constraint = "uq_roles_name_key"
    pointer = "/name"


ROLES = creates.Collection(OwnRole, "/api/roles/{row.id}/", (creates.unique(RoleNameTaken, OwnRole.name_key),))


class RoleInUse(Conflict):
    """The role is in use; give its members another role first."""

    code = "role_in_use"
    default_detail = "The role is in use; give its members another role first."
    constraint = "fk_memberships_role_id"


class TooManyRoles(Conflict):
    """An organization can define at most 100 roles."""

    code = "too_many_roles"
    default_detail = "An organization can define at most 100 roles."


class RoleChanges(TypedDict, total=False):
    """Fields of a role that a change may have."""

    name: str
    permissions: Sequence[str]
    scope: str


class NewRole(TypedDict):
    """The fields of a new role."""

    name: str
    permissions: Sequence[str]
    scope: str


def create(
    session: Session, principal: Principal, *, id: UUID | None = None, **given: Unpack[NewRole]
) -> tuple[dict[str, Any], bool]:
    """Create a role; return it, and False if an earlier, identical call has created it.

    :raises RoleNotYours: it allows more than the principal's own.
    :raises RoleNameTaken: another role has this name.
    :raises IdTaken: the id belongs to a role with other content.
    """
    values = _normalized(given)
    require_covers(principal, grant_of(values["permissions"], values["scope"]))
    role, is_new = creates.create(session, principal, ROLES, id=id, body=values)
    if is_new and queries.count_own(session, principal) > MOST_OWN:
        raise TooManyRoles
    return queries.shown(role), is_new


def change(
    session: Session, principal: Principal, *, role_id: UUID, expected: Versions, **changes: Unpack[RoleChanges]
) -> dict[str, Any]:
    """Change a role; it takes effect at the next request of everyone who has it.

    :raises NotFound: the organization has no such role.
    :raises RoleNotYours: it allows, or would allow, more than the principal's own.
    :raises PreconditionFailed: it has changed since the caller read it.
    """
    role = lock(session, principal, OwnRole, role_id, expected=expected)
    require_covers(principal, grant_of(role.permissions, role.scope))
    for name, value in _normalized(changes).items():
        setattr(role, name, value)
    require_covers(principal, grant_of(role.permissions, role.scope))
    creates.flush(session, principal, ROLES, role)
    return queries.shown(role)


def delete(session: Session, principal: Principal, *, role_id: UUID, expected: Versions) -> None:
    """Delete a role that no user and no open invitation has.

    :raises NotFound: the organization has no such role.
    :raises RoleNotYours: it allows more than the principal's own.
    :raises RoleInUse: a user or an open invitation has it.
    """
    role = lock(session, principal, OwnRole, role_id, expected=expected)
    require_covers(principal, grant_of(role.permissions, role.scope))
    members, invited = queries.count_holders(session, principal, role_id)
    if members or invited:
        raise RoleInUse(f"Users with this role: {members}; open invitations with it: {invited}.")
    clear_references(session, Invitation.role_id, role_id)
    session.delete(role)
    session.flush()
    _remove_from_mfa_roles(session, principal, str(role_id))


def _name_key(name: str) -> str:
    """Return a name's comparison key, equal for names that look alike (NFKC, case-folded, no format characters)."""
    plain = unicodedata.normalize("NFKC", name).casefold()
    return "".join(character for character in plain if unicodedata.category(character) != "Cf").strip()


def _normalized(values: NewRole | RoleChanges) -> dict[str, Any]:
    """Return the values to write: every role includes the personal permissions (``me:*``)."""
    normalized: dict[str, Any] = {**values}
    if "permissions" in normalized:
        normalized["permissions"] = sorted({*normalized["permissions"], *(one.value for one in PERSONAL)})
    if "name" in normalized:
        normalized["name_key"] = _name_key(normalized["name"])
        if normalized["name_key"] in _RESERVED:
            raise RoleNameTaken
    return normalized


def _remove_from_mfa_roles(session: Session, principal: Principal, role_id: str) -> None:
    organization = session.scalars(
        select(Organization)
        .where(Organization.id == principal.organization_id, Organization.mfa_roles.contains([role_id]))
        .with_for_update()
    ).one_or_none()
    if organization is not None:
        organization.mfa_roles = [one for one in organization.mfa_roles if one != role_id]
