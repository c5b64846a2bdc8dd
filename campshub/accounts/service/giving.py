"""Who may give which role: nobody gives more than they have.

Whoever makes or changes a role, gives it to someone, or changes someone who has it, must hold all that it allows and
see at least as far. So no chain of roles ends above where it began.
"""

from uuid import UUID

from campshub.accounts.models import Invitation, Membership
from campshub.accounts.queries import roles as queries
from campshub.core.db.session import Session
from campshub.core.errors import FieldError, Forbidden, Invalid, UnknownReference
from campshub.core.security.permissions import CUSTOM, GRANTS, Grant
from campshub.core.security.principal import Principal


class RoleNotYours(Forbidden):
    """This role allows more than yours does, or sees further."""

    code = "role_not_yours"
    default_detail = "This role allows more than yours does, or sees further."


def require_covers(principal: Principal, grant: Grant) -> None:
    """Refuse to go on about a role that allows more than the principal's own.

    :raises RoleNotYours: it does.
    """
    if not principal.grant.covers(grant):
        raise RoleNotYours


def require_may_give(
    session: Session, principal: Principal, *, role: str | None, role_id: UUID | None
) -> tuple[str, UUID | None]:
    """Return a role as memberships carry it, which the principal may give; an own one cannot change meanwhile.

    :raises Invalid: neither a built-in role is named nor an own one, or both are.
    :raises UnknownReference: the organization has no such role.
    :raises RoleNotYours: it allows more than the principal's own.
    """
    if role_id is not None and role is None:
        grant = queries.hold_grant(session, principal, role_id)
        if grant is None:
            detail = "No role of this organization's own."
            raise UnknownReference.of([FieldError("/role_id", "unknown_reference", detail)])
        require_covers(principal, grant)
        return CUSTOM, role_id
    if role is None or role_id is not None:
        raise Invalid.at("/role", "either_or", "Name a built-in role, or one of your own by its role_id.")
    require_covers(principal, GRANTS[role])
    return role, None


def require_may_change(session: Session, principal: Principal, holder: Membership | Invitation) -> None:
    """Refuse to change someone who has a role that allows more than the principal's own.

    :raises RoleNotYours: they have.
    """
    own = queries.hold_grant(session, principal, holder.role_id) if holder.role_id else None
    require_covers(principal, own or GRANTS[holder.role])
