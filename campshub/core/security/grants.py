"""What a caller may do at this moment, as the statement that sets the tenant tells it."""

from campshub.core.db.unit import Entered
from campshub.core.security.permissions import GRANTS, Grant, grant_of


def granted(entered: Entered) -> Grant:
    """Return the grant of whoever has entered: that of their role; with a key, no more than the key's and the role's.

    So a key never does what the user who made it may not do themselves, nor any longer than they may.
    """
    role = entered.role or ""
    grant = GRANTS[role] if entered.permissions is None else grant_of(entered.permissions, entered.scope or "")
    if entered.key_permissions is None:
        return grant
    return grant_of(entered.key_permissions, entered.key_scope or "").within(grant)
