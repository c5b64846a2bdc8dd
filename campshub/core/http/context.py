"""One request on its way to its handler, and whether whoever asks may have it."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from campshub.core import paging
from campshub.core.cache.memory import CachedResponse
from campshub.core.db.session import CallerRow, Session, Unit
from campshub.core.db.writes import Versions
from campshub.core.freshness.protocol import LookupReply, LookupRequest
from campshub.core.http.caller_state import CallerState
from campshub.core.http.endpoint import Arguments, Endpoint
from campshub.core.http.known_urls import ParsedRequest
from campshub.core.http.services import HttpServices
from campshub.core.security.grants import authorize, require_alive
from campshub.core.security.principal import Principal
from campshub.core.security.tokens import Claims
from campshub.core.service_base import Services

_NOTHING = Arguments({}, None, None)


class ResourceState:
    """What the dispatcher sets before it calls a resource's method."""

    session: Session
    principal: Principal
    now: datetime
    if_match: Versions
    services: Services


@dataclass(slots=True)
class Lookup:
    """What is known before the database is asked; without trust, no more than where the limits stand."""

    question: LookupRequest
    asked: LookupReply = field(default_factory=LookupReply)
    caller: CallerState | None = None
    cached: CachedResponse | None = None
    held: CachedResponse | None = None
    place: Hashable = None


@dataclass(slots=True)
class RequestContext:
    """One request, who sent it, and the unit of work that answers it."""

    services: HttpServices
    resource: ResourceState
    endpoint: Endpoint
    claims: Claims | None
    unit: Unit
    address: str
    query_string: bytes
    path: Mapping[str, Any]
    arguments: Arguments = _NOTHING
    given: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def at(
        cls, address: ParsedRequest, services: HttpServices, claims: Claims, unit: Unit, now: datetime
    ) -> "RequestContext":
        """Return the call of an address that is known."""
        resource: ResourceState = address.resource()
        resource.services, resource.now, resource.if_match = services, now, None
        context = cls(
            services, resource, address.endpoint, claims, unit, address.path, address.query_string, address.given
        )
        context.arguments, context.given = address.arguments, dict(address.given)
        return context

    def admit(self, caller_row: CallerRow | None) -> None:
        """Set the resource up for its handler, or refuse whoever asks.

        :raises SessionEnded: the token is from before a sign-out, a new password or the loss of the membership.
        :raises BadToken: it is a key, and does not hold any more.
        :raises OrganizationSuspended: the organization is not active.
        :raises Forbidden: the role, or the key, does not have the permission.
        """
        claims = self.claims
        if claims is None:
            return
        require_alive(caller_row, claims)
        self.services.api_keys.note(self.unit, claims)  # also of a key that tries what it may not
        grant = authorize(caller_row, claims, self.endpoint.options.permission)
        self.resource.principal = Principal(
            user_id=claims.user_id,
            organization_id=claims.organization_id,
            role=(caller_row and caller_row.role) or "",
            time_zone=(caller_row and caller_row.time_zone) or "UTC",
            session_id=claims.session_id,
            own_grant=grant,
            api_key_id=claims.api_key_id,
        )

    def digest(self) -> str:
        """Return what stands for the address and its parameters in the key of an answer; nothing if none is kept."""
        if self.services.ttl_s(self.endpoint.options) <= 0:
            return ""
        return self.endpoint.digest(self.address, self.query_string)

    def run(self, session: Session) -> Any:
        """Run the handler in a session; return what it returns."""
        self.resource.session = session
        return self.endpoint.function(self.resource, **self.given, **self.arguments.filters, **self._page())

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
        page = paging.page_request(
            **self.arguments.page, only=self.arguments.only, bound_to=bound_to, cursors=self.services.cursors
        )
        return {"page": page}

    def parsed(self, route: str) -> ParsedRequest:
        """Return what is known of the request's address, for the next request to it."""
        return ParsedRequest(
            self.endpoint,
            type(self.resource),
            route,
            self.address,
            self.query_string,
            self.path,
            self.arguments,
            self.digest(),
        )
