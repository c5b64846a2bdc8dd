"""One request on its way to its handler, and whether whoever asks may have it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from campshub.core.db.session import Entered, Session, Unit
from campshub.core.http import pagination
from campshub.core.http.addresses import Address
from campshub.core.http.handler import Arguments, Handler
from campshub.core.http.problems import Forbidden, InvalidToken
from campshub.core.platform import Platform
from campshub.core.security.grants import granted
from campshub.core.security.permissions import OF_KEYS, PERSONAL, Grant, Permission
from campshub.core.security.principal import Principal
from campshub.core.security.tokens import BadToken, Claims

if TYPE_CHECKING:
    from campshub.core.http.resource import Resource

_NOTHING = Arguments({}, None, None)


class SessionEnded(InvalidToken):
    """This session has ended; sign in again."""

    code = "session_ended"


class MfaRequired(Forbidden):
    """Your organization asks your role for a second factor: set one up (`/api/auth/mfa/totp/`), then refresh."""

    code = "mfa_required"


class OrganizationSuspended(Forbidden):
    """This organization is not active."""

    code = "organization_suspended"


class NotForKeys(Forbidden):
    """A key cannot do this; a person who is signed in can."""

    code = "not_for_keys"


def admitted(entered: Entered | None, claims: Claims, permission: Permission | None) -> Grant:
    """Return what a caller may do who may do this.

    :raises SessionEnded: the token is from before a sign-out, a new password or the loss of the membership.
    :raises BadToken: it is a key, and has been revoked, has run out, or its maker does not belong any more.
    :raises OrganizationSuspended: the organization is not active.
    :raises NotForKeys: it is a key, and this is for people.
    :raises Forbidden: the role does not have the permission.
    """
    require_alive(entered, claims)
    if entered is None or entered.organization_status != "active":
        raise OrganizationSuspended
    grant = granted(entered)
    if permission is not None and permission not in grant.permissions:
        if claims.api_key_id is not None and permission not in OF_KEYS:
            raise NotForKeys
        raise Forbidden
    if claims.must_enrol and permission not in PERSONAL:
        raise MfaRequired
    return grant


def require_alive(entered: Entered | None, claims: Claims) -> None:
    """Refuse a token or a key that does not hold any more.

    :raises SessionEnded: the token is from before a sign-out, a new password or the loss of the membership.
    :raises BadToken: it is a key, and has been revoked, has run out, or its maker does not belong any more.
    """
    if claims.api_key_id is not None:
        if entered is None or entered.role is None or entered.key_permissions is None:
            raise BadToken
        return
    if entered is None or entered.role is None or entered.session_version != claims.session_version:
        raise SessionEnded
    if entered.ended_sessions and claims.session in entered.ended_sessions:
        raise SessionEnded


@dataclass(slots=True)
class Call:
    """One request, who sent it, and the unit of work that answers it."""

    platform: Platform
    resource: "Resource"
    handler: Handler
    claims: Claims | None
    unit: Unit
    address: str
    query_string: bytes
    path: Mapping[str, Any]
    arguments: Arguments = _NOTHING
    given: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def at(cls, address: Address, platform: Platform, claims: Claims, unit: Unit, now: datetime) -> "Call":
        """Return the call of an address that is known."""
        resource = address.resource()
        resource.platform, resource.now, resource.if_match = platform, now, None
        call = cls(platform, resource, address.handler, claims, unit, address.path, address.query_string, address.given)
        call.arguments, call.given = address.arguments, dict(address.given)
        return call

    def admit(self, entered: Entered | None) -> None:
        """Set the resource up for its handler, or refuse whoever asks.

        :raises SessionEnded: the token is from before a sign-out, a new password or the loss of the membership.
        :raises BadToken: it is a key, and does not hold any more.
        :raises OrganizationSuspended: the organization is not active.
        :raises Forbidden: the role, or the key, does not have the permission.
        """
        claims = self.claims
        if claims is None:
            return
        require_alive(entered, claims)
        self.platform.api_keys.note(self.unit, claims)  # also of a key that tries what it may not
        grant = admitted(entered, claims, self.handler.mark.permission)
        self.resource.principal = Principal(
            user_id=claims.user_id,
            organization_id=claims.organization_id,
            role=(entered and entered.role) or "",
            time_zone=(entered and entered.time_zone) or "UTC",
            session_id=claims.session_id,
            own_grant=grant,
            api_key_id=claims.api_key_id,
        )

    def digest(self) -> str:
        """Return what stands for the address and its parameters in the key of an answer; nothing if none is kept."""
        if self.platform.life_s(self.handler.mark) <= 0:
            return ""
        return self.handler.digest(self.address, self.query_string)

    def run(self, session: Session) -> Any:
        """Run the handler in a session; return what it returns."""
        self.resource.session = session
        return self.handler.function(self.resource, **self.given, **self.arguments.filters, **self._page())

    def _page(self) -> dict[str, Any]:
        """Return the page that is asked for, bound to what its cursor must have been made for."""
        if self.arguments.page is None:
            return {}
        bound_to = {
            "address": self.address,
            "organization": self.unit.organization_id,
            "path": self.given,
            "filters": self.arguments.filters,
        }
        page = pagination.page_request(
            **self.arguments.page, only=self.arguments.only, bound_to=bound_to, cursors=self.platform.cursors
        )
        return {"page": page}
