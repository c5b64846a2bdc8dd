"""An organization's own roles: made, changed and deleted."""

import unicodedata
from typing import Any
from uuid import UUID

from sqlalchemy import select

from campshub.accounts.models import Organization, OwnRole
from campshub.accounts.queries import roles as queries
from campshub.accounts.service.giving import require_covers
from campshub.core.db import creates
from campshub.core.db.fingerprints import fingerprint
from campshub.core.db.models import new_id
from campshub.core.db.session import Session
from campshub.core.db.writes import Versions, lock
from campshub.core.errors import Conflict
from campshub.core.security.permissions import PERSONAL, ROLE_NAMES, grant_of
from campshub.core.security.principal import Principal

MOST_OWN = 100
_RESERVED = frozenset(ROLE_NAMES)


class RoleNameTaken(Conflict):
    """The organization has a role of this name; so has the services, under those of the built-in ones."""

    code = "role_name_taken"
    default_detail = "The organization has a role of this name; so has the platform, under those of the built-in ones."
    constraint = "uq_roles_name_key"
    pointer = "/name"


ROLES = creates.Collection(OwnRole, "/api/roles/{row.id}/", (creates.unique(RoleNameTaken, OwnRole.name_key),))


class RoleInUse(Conflict):
    """Someone has this role; give them another first."""

    code = "role_in_use"
    default_detail = "Someone has this role; give them another first."
    constraint = "fk_memberships_role_id"


class TooManyRoles(Conflict):
    """An organization has at most a hundred roles of its own."""

    code = "too_many_roles"
    default_detail = "An organization has at most a hundred roles of its own."


def create(
    session: Session, principal: Principal, *, id: UUID | None = None, **values: Any
) -> tuple[dict[str, Any], bool]:
    """Create a role; return it, and whether it is new rather than made by an earlier, identical call.

    :raises RoleNotYours: it allows more than the principal's own.
    :raises RoleNameTaken: there is one of this name.
    :raises IdTaken: the id belongs to a role that was created from something else.
    """
    values = _meant(values)
    require_covers(principal, grant_of(values["permissions"], values["scope"]))
    row = {**values, "id": id or new_id()}
    role, is_new = creates.create(session, principal, ROLES, row, fingerprint=fingerprint(values))
    if is_new and queries.count_own(session, principal) > MOST_OWN:
        raise TooManyRoles
    return queries.shown(role), is_new


def change(
    session: Session, principal: Principal, *, role_id: UUID, expected: Versions, **changes: Any
) -> dict[str, Any]:
    """Change a role; it takes effect at the next request of everyone who has it.

    :raises NotFound: the organization has no such role.
    :raises RoleNotYours: it allows more than the principal's own, or would.
    :raises PreconditionFailed: it has changed since the caller read it.
    """
    role = lock(session, principal, OwnRole, role_id, expected=expected)
    require_covers(principal, grant_of(role.permissions, role.scope))
    for name, value in _meant(changes).items():
        setattr(role, name, value)
    require_covers(principal, grant_of(role.permissions, role.scope))
    creates.flush(session, principal, ROLES, role)
    return queries.shown(role)


def delete(session: Session, principal: Principal, *, role_id: UUID, expected: Versions) -> None:
    """Delete a role that nobody has, and that no open invitation promises.

    :raises NotFound: the organization has no such role.
    :raises RoleNotYours: it allows more than the principal's own.
    :raises RoleInUse: somebody has it.
    """
    role = lock(session, principal, OwnRole, role_id, expected=expected)
    require_covers(principal, grant_of(role.permissions, role.scope))
    members, invited = queries.count_holders(session, principal, role_id)
    if members or invited:
        raise RoleInUse(f"Users who have this role: {members}; open invitations that promise it: {invited}.")
    session.delete(role)
    session.flush()
    _forget_for_mfa(session, principal, str(role_id))


def _as_compared(name: str) -> str:
    """Return a name as it is compared: what looks like another is another (Unicode NFKC, without invisible signs)."""
    plain = unicodedata.normalize("NFKC", name).casefold()
    return "".join(sign for sign in plain if unicodedata.category(sign) != "Cf").strip()


def _meant(values: dict[str, Any]) -> dict[str, Any]:
    """Return what is to be written: every person may see to their own affairs, whatever their role."""
    meant = dict(values)
    if "permissions" in meant:
        meant["permissions"] = sorted({*meant["permissions"], *(one.value for one in PERSONAL)})
    if "name" in meant:
        meant["name_key"] = _as_compared(meant["name"])
        if meant["name_key"] in _RESERVED:
            raise RoleNameTaken
    return meant


def _forget_for_mfa(session: Session, principal: Principal, role_id: str) -> None:
    organization = session.scalars(
        select(Organization)
        .where(Organization.id == principal.organization_id, Organization.mfa_roles.contains([role_id]))
        .with_for_update()
    ).one_or_none()
    if organization is not None:
        organization.mfa_roles = [one for one in organization.mfa_roles if one != role_id]
