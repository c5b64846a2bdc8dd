"""Authorization: what a caller may do, from the caller's current state in the organization.

A token proves only who the caller is. Its role, permissions and scope are read from the database or from the caller
state that is cached under the stamp of the tag ``access``, so a change applies to the next request.
"""

from uuid import UUID

from campshub.core.db.unit import CallerRow
from campshub.core.errors import Forbidden, InvalidToken
from campshub.core.security.permissions import GRANTS, OF_KEYS, PERSONAL, Grant, Permission, Scope, grant_of
from campshub.core.security.principal import Principal
from campshub.core.security.tokens import BadToken, Claims


class SessionEnded(InvalidToken):
    """The sign-in session has ended; sign in again."""

    code = "session_ended"
    default_detail = "The sign-in session has ended; sign in again."


class MfaRequired(Forbidden):
    """Your role requires a second factor: set one up (`POST /api/auth/mfa/totp/`), then refresh the token."""

    code = "mfa_required"
    default_detail = (
        "Your role requires a second factor: set one up (`POST /api/auth/mfa/totp/`), then refresh the token."
    )


class OrganizationSuspended(Forbidden):
    """This organization is not active."""

    code = "organization_suspended"
    default_detail = "This organization is not active."


class NotForKeys(Forbidden):
    """API keys cannot do this; sign in as a user."""

    code = "not_for_keys"
    default_detail = "API keys cannot do this; sign in as a user."


def granted(caller_row: CallerRow) -> Grant:
    """Return the caller's grant: that of the role; for an API key, the intersection of the key's and the role's.

    So a key never has a permission that its creator does not have at this moment. Only a custom role has permissions in
    its row; a built-in role is looked up by its name. The caller must have a role; a former member has none.
    """
    role = caller_row.role or ""
    grant = GRANTS[role] if caller_row.permissions is None else grant_of(caller_row.permissions, caller_row.scope or "")
    if caller_row.key_permissions is None:
        return grant
    return grant_of(caller_row.key_permissions, caller_row.key_scope or "").within(grant)


class NoPrincipal(Exception):
    """A user or key can do nothing in an organization any more; the message is the reason, as a code."""


def principal_of(
    caller_row: CallerRow | None, organization_id: UUID, user_id: UUID, api_key_id: UUID | None = None
) -> Principal:
    """Return the principal of a user or key who is named by a link or a job, as of now.

    :raises NoPrincipal: they are no longer a member, their key is not valid, or the organization is not active.
    """
    if caller_row is None or caller_row.role is None:
        raise NoPrincipal("asker_gone")
    if caller_row.organization_status != "active":
        raise NoPrincipal("organization_suspended")
    return Principal(
        user_id=user_id,
        organization_id=organization_id,
        role=caller_row.role,
        time_zone=caller_row.time_zone or "UTC",
        own_grant=granted(caller_row),
        api_key_id=api_key_id,
    )


def authorize(caller_row: CallerRow | None, claims: Claims, permission: Permission | None) -> Grant:
    """Return the caller's grant, if it contains the permission; None requires only a valid caller.

    :raises SessionEnded: the token was issued before a sign-out, a new password or the end of the membership.
    :raises BadToken: the API key was revoked or has expired, or its creator is no longer a member.
    :raises OrganizationSuspended: the organization is not active.
    :raises NotForKeys: the caller is an API key, and only people may do this.
    :raises Forbidden: the role, or the key, does not have the permission.
    :raises MfaRequired: the role requires a second factor that the user has not set up.
    """
    require_valid(caller_row, claims)
    if caller_row is None or caller_row.organization_status != "active":
        raise OrganizationSuspended
    grant = granted(caller_row)
    if permission is not None and permission not in grant.permissions:
        if claims.api_key_id is not None and permission not in OF_KEYS:
            raise NotForKeys
        raise Forbidden
    if claims.must_enrol and permission not in PERSONAL:
        raise MfaRequired
    return grant


def require_valid(caller_row: CallerRow | None, claims: Claims) -> None:
    """Refuse a token or a key that is no longer valid.

    :raises SessionEnded: the token was issued before a sign-out, a new password or the end of the membership.
    :raises BadToken: the API key was revoked or has expired, or its creator is no longer a member.
    """
    if claims.api_key_id is not None:
        if caller_row is None or caller_row.role is None or caller_row.key_permissions is None:
            raise BadToken
        return
    if caller_row is None or caller_row.role is None or caller_row.session_version != claims.session_version:
        raise SessionEnded
    if caller_row.ended_sessions and claims.session in caller_row.ended_sessions:
        raise SessionEnded


def require_whole_organization(principal: Principal, action: str) -> None:
    """Refuse an action that affects more rows than a caller with a narrower scope may see.

    :param action: completes "Only callers who see the whole organization can ...".
    :raises Forbidden: the principal's scope is narrower.
    """
    if principal.scope is not Scope.ALL:
        raise Forbidden(f"Only callers who see the whole organization can {action}.")
