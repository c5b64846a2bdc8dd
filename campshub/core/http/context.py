"""The context of one request: what its endpoint needs, and the authorization of its caller."""

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
from campshub.core.security import authorization
from campshub.core.security.principal import Principal
from campshub.core.security.tokens import Claims
from campshub.core.service_base import Services

_NO_ARGUMENTS = Arguments({}, None, None)


class ResourceState:
    """The attributes that the dispatcher sets on a resource before it calls an endpoint."""

    session: Session
    principal: Principal
    now: datetime
    if_match: Versions
    services: Services


@dataclass(slots=True)
class Lookup:
    """The result of the Redis lookup; an untrusted reply has only the state of the rate limits."""

    request: LookupRequest
    reply: LookupReply = field(default_factory=LookupReply)
    caller: CallerState | None = None
    cached: CachedResponse | None = None
    # The response that this process has under the key, which may be outdated.
    candidate: CachedResponse | None = None
    cache_key: Hashable = None


@dataclass(slots=True)
class RequestContext:
    """One request with its endpoint, its caller and its unit of work."""

    services: HttpServices
    resource: ResourceState
    endpoint: Endpoint
    claims: Claims | None
    unit: Unit
    url_path: str
    query_string: bytes
    path_parameters: Mapping[str, Any]
    arguments: Arguments = _NO_ARGUMENTS
    parameters: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def at(
        cls, parsed_request: ParsedRequest, services: HttpServices, claims: Claims, unit: Unit, now: datetime
    ) -> "RequestContext":
        """Create the context of a request to a known URL."""
        resource: ResourceState = parsed_request.resource()
        resource.services, resource.now, resource.if_match = services, now, None
        context = cls(
            services=services,
            resource=resource,
            endpoint=parsed_request.endpoint,
            claims=claims,
            unit=unit,
            url_path=parsed_request.path,
            query_string=parsed_request.query_string,
            path_parameters=parsed_request.path_parameters,
        )
        context.arguments, context.parameters = parsed_request.arguments, dict(parsed_request.path_parameters)
        return context

    def authorize(self, caller_row: CallerRow | None) -> None:
        """Authorize the caller, and set the principal of the resource.

        :raises SessionEnded: the token was issued before a sign-out, a new password or the end of the membership.
        :raises BadToken: the API key is no longer valid.
        :raises OrganizationSuspended: the organization is not active.
        :raises Forbidden: the role, or the key, does not have the permission.
        """
        claims = self.claims
        if claims is None:
            return
        authorization.require_valid(caller_row, claims)
        self.services.api_keys.note(self.unit, claims)  # also if the key is refused afterwards
        grant = authorization.authorize(caller_row, claims, self.endpoint.options.permission)
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
        """Return the digest of path and parameters for the key of the cached response; empty if it is not cached."""
        if self.services.ttl_s(self.endpoint.options) <= 0:
            return ""
        return self.endpoint.digest(self.url_path, self.query_string)

    def run(self, session: Session) -> Any:
        """Run the endpoint's function in a session; return its result."""
        self.resource.session = session
        return self.endpoint.function(self.resource, **self.parameters, **self.arguments.filters, **self._page())

    def _page(self) -> dict[str, Any]:
        """Return the argument ``page`` of a list; its cursor must have been created for the same list."""
        if self.arguments.page is None:
            return {}
        bound_to = {
            "address": self.url_path,
            "organization": self.unit.organization_id,
            "path": self.parameters,
            "filters": self.arguments.filters,
        }
        page = paging.page_request(
            **self.arguments.page, only=self.arguments.only, bound_to=bound_to, cursors=self.services.cursors
        )
        return {"page": page}

    def parsed(self, route: str) -> ParsedRequest:
        """Return the parsed request, for the next request with the same URL."""
        return ParsedRequest(
            self.endpoint,
            type(self.resource),
            route,
            self.url_path,
            self.query_string,
            self.path_parameters,
            self.arguments,
            self.digest(),
        )
