"""One request on its way to its handler, and whether whoever asks may have it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from campshub.core.db.session import Entered, Session, Unit
from campshub.core.http import pagination
from campshub.core.http.handler import Arguments, Handler
from campshub.core.http.problems import Forbidden, Unauthenticated
from campshub.core.platform import Platform
from campshub.core.security.permissions import ROLES, Permission, Role
from campshub.core.security.principal import Principal
from campshub.core.security.tokens import Claims

if TYPE_CHECKING:
    from campshub.core.http.resource import Resource

_NOTHING = Arguments({}, None, None)


class SessionEnded(Unauthenticated):
    """This session has ended; sign in again."""

    code = "session_ended"


class MfaRequired(Forbidden):
    """Your organization asks your role for a second factor: set one up (`/api/auth/mfa/totp/`), then refresh."""

    code = "mfa_required"


class OrganizationSuspended(Forbidden):
    """This organization is not active."""

    code = "organization_suspended"


def admitted(entered: Entered | None, claims: Claims, permission: Permission | None) -> Role:
    """Return the role in which a caller may do something.

    :raises SessionEnded: the token is from before a sign-out, a new password or the loss of the membership.
    :raises OrganizationSuspended: the organization is not active.
    :raises Forbidden: the role does not have the permission.
    """
    if entered is None or entered.role is None or entered.session_version != claims.session_version:
        raise SessionEnded
    if entered.ended_sessions and claims.session in entered.ended_sessions:
        raise SessionEnded
    if entered.organization_status != "active":
        raise OrganizationSuspended
    role = Role(entered.role)
    if permission is not None and permission not in ROLES[role]:
        raise Forbidden
    if claims.must_enrol and permission not in (Permission.ME_READ, Permission.ME_WRITE):
        raise MfaRequired
    return role


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

    def admit(self, entered: Entered | None) -> None:
        """Set the resource up for its handler, or refuse whoever asks.

        :raises SessionEnded: the token is from before a sign-out, a new password or the loss of the membership.
        :raises OrganizationSuspended: the organization is not active.
        :raises Forbidden: the role does not have the permission.
        """
        claims = self.claims
        if claims is None:
            return
        role = admitted(entered, claims, self.handler.mark.permission)
        self.resource.principal = Principal(
            user_id=claims.user_id,
            organization_id=claims.organization_id,
            role=role,
            time_zone=(entered and entered.time_zone) or "UTC",
            session_id=claims.session_id,
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
        secret = self.platform.settings.secret_key
        page = pagination.page_request(
            **self.arguments.page, only=self.arguments.only, bound_to=bound_to, secret=secret
        )
        return {"page": page}
