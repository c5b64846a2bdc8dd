"""Who may grant which role: no one grants more than they have.

A user who creates or changes a role, grants it, or changes someone who has it, must have all of its permissions and at
least its scope. So no chain of grants can escalate privileges.
"""

from uuid import UUID

from campshub.accounts.models import Invitation, Membership
from campshub.accounts.queries import roles as queries
from campshub.core.db.session import Session
from campshub.core.errors import FieldError, Forbidden, Invalid, UnknownReference
from campshub.core.security.permissions import CUSTOM, GRANTS, Grant
from campshub.core.security.principal import Principal


class RoleNotYours(Forbidden):
    """The role has more permissions or a wider scope than yours."""

    code = "role_not_yours"
    default_detail = "The role has more permissions or a wider scope than yours."


def require_covers(principal: Principal, grant: Grant) -> None:
    """Refuse a role that allows more than the principal's own.

    :raises RoleNotYours: it does.
    """
    if not principal.grant.covers(grant):
        raise RoleNotYours


def require_may_give(
    session: Session, principal: Principal, *, role: str | None, role_id: UUID | None
) -> tuple[str, UUID | None]:
    """Return a role in the form of a membership, after checking that the principal may grant it; lock a custom role.

    :raises Invalid: not exactly one of a built-in role and a custom role is named.
    :raises UnknownReference: the organization has no such role.
    :raises RoleNotYours: it allows more than the principal's own.
    """
    if role_id is not None and role is None:
        grant = queries.lock_grant(session, principal, role_id)
        if grant is None:
            detail = "No such custom role in this organization."
            raise UnknownReference.of([FieldError("/role_id", "unknown_reference", detail)])
        require_covers(principal, grant)
        return CUSTOM, role_id
    if role is None or role_id is not None:
        raise Invalid.at("/role", "either_or", "Send either `role` (a built-in role) or `role_id` (a custom role).")
    require_covers(principal, GRANTS[role])
    return role, None


def require_may_change(session: Session, principal: Principal, holder: Membership | Invitation) -> None:
    """Refuse to change a member or invitation whose role allows more than the principal's own.

    :raises RoleNotYours: it does.
    """
    own = queries.lock_grant(session, principal, holder.role_id) if holder.role_id else None
    require_covers(principal, own or GRANTS[holder.role])
