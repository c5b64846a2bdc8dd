"""Cache warming: render the most popular responses in advance, after a deployment and on schedule.

A response is rendered for a user who requests it often. The user is looked up and authorized as for a request, so the
cached response has the key of exactly those who may see it. A user who has lost access is refused, and the URL is
removed from the popular ones. Responses that cannot be cached, or are cached already, are not rendered.

Warming has a low priority. After each response it pauses longer than that took. It does not use the primary if there
are replicas. It ends if a server is unavailable or busy.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from flask import Flask
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from werkzeug.exceptions import HTTPException

from campshub.core.cache.popular import PopularUrl
from campshub.core.db import unit_of_work
from campshub.core.db.unit import Unit
from campshub.core.errors import Problem
from campshub.core.freshness.replicas import RECHECK_S, SpillFull
from campshub.core.http import lookup, read_routing
from campshub.core.http.context import Lookup, RequestContext
from campshub.core.http.known_urls import ParsedRequest
from campshub.core.http.services import HttpServices
from campshub.core.redis.connection import CacheUnavailable
from campshub.core.security.tokens import Claims

# How many times longer than the work each pause is.
PAUSE_FACTOR = 3
# After this many skipped URLs in a row, the remaining ones are skipped, too.
PATIENCE = 5


@dataclass
class Warmed:
    """How many URLs were rendered, were cached already, were refused to their user, or could not be cached."""

    made: int = 0
    cached: int = 0
    refused: int = 0
    left: int = 0
    is_whole: bool = True


class ServersBusy(Exception):
    """The servers are busy, or the time has ended; the remaining URLs are skipped."""


@dataclass
class Warmer:
    """One run of cache warming.

    :param per_second: the maximum number of responses per second.
    :param seconds: the maximum duration of the run.
    :param rest: a function that waits for a number of seconds.
    """

    app: Flask
    services: HttpServices
    per_second: float
    seconds: float = math.inf
    rest: Callable[[float], None] = time.sleep
    _ends_at: float = math.inf

    def warm(self, *, most: int, organization_id: UUID | None = None) -> Warmed:
        """Render the most popular responses of one organization, or of all organizations with requests."""
        warmed, uses, now = Warmed(), self.services.popular_urls, datetime.now(UTC)
        self._ends_at = time.perf_counter() + self.seconds
        try:
            for organization in [str(organization_id)] if organization_id else uses.organizations(now):
                self._warm(uses.most(organization, now, most=most), warmed)
        except (CacheUnavailable, ServersBusy, SpillFull, PoolTimeout, DBAPIError):
            warmed.is_whole = False
        return warmed

    def _warm(self, uses: Sequence[PopularUrl], warmed: Warmed) -> None:
        """Render responses one after the other.

        :raises ServersBusy: several in a row could not be cached, or the time has ended.
        """
        in_a_row = 0
        for use in uses:
            begun = time.perf_counter()
            if begun > self._ends_at:
                raise ServersBusy
            try:
                outcome = self._make(use)
            except Problem:
                outcome = "refused"
                self.services.popular_urls.forget(use, datetime.now(UTC))
            setattr(warmed, outcome, getattr(warmed, outcome) + 1)
            in_a_row = in_a_row + 1 if outcome == "left" else 0
            if in_a_row == PATIENCE:
                raise ServersBusy
            if outcome != "cached":
                self.rest(max(1 / self.per_second, PAUSE_FACTOR * (time.perf_counter() - begun)))

    def _make(self, use: PopularUrl) -> str:
        """Render one response as for a request of the user; return the outcome, a field of ``Warmed``.

        :raises Problem: the user would be refused.
        """
        parsed_request = self._parsed_request(use)
        if parsed_request is None or not parsed_request.digest:
            return "refused"
        now = datetime.now(UTC)
        claims = Claims(UUID(use.user), UUID(use.organization), None, session_version=0, expires_at=0)
        context = RequestContext.at(parsed_request, self.services, claims, _unit(self.services, claims, now), now)
        found = lookup.look_up_uncounted(context)
        if found.cache_key is None or found.caller is None or found.reply.is_unverified:
            return "left"
        # There is no sign-in session that could have ended; only the current permissions matter.
        context.claims = replace(claims, session_version=found.caller.state.session_version or 0)
        context.authorize(found.caller.state)
        if found.cached is not None:
            return "cached"
        if not self._has_replica(context, found):
            return "left"
        try:
            read_routing.render(context, found)
        finally:
            unit_of_work.run_separate_transactions(context.unit)
        return "made"

    def _has_replica(self, context: RequestContext, found: Lookup) -> bool:
        """Return whether a replica has the needed writes, after a short wait; True if there are no replicas."""
        settings, until = self.services.settings, time.monotonic() + self.services.settings.replica_wait_s
        while settings.replicas and self.services.replicas.choose(context.unit, found.reply) is None:
            if time.monotonic() >= until:
                return False
            time.sleep(RECHECK_S)
        return True

    def _parsed_request(self, use: PopularUrl) -> ParsedRequest | None:
        """Return the parsed request of a URL; None if its responses are not cached."""
        try:
            name, path_parameters = self.app.url_map.bind("localhost").match(use.path, method="GET")
        except HTTPException:
            return None
        resource: Any = getattr(self.app.view_functions[name], "view_class", None)
        endpoint = getattr(resource, "endpoints", {}).get("GET")
        if (
            endpoint is None
            or endpoint.options.cache_policy is None
            or endpoint.options.is_system
            or endpoint.options.limits
        ):
            return None
        digest = endpoint.digest(use.path, use.query) if self.services.ttl_s(endpoint.options) > 0 else ""
        arguments = endpoint.parsed(use.query)
        return ParsedRequest(endpoint, resource, name, use.path, use.query, path_parameters, arguments, digest)


def _unit(services: HttpServices, claims: Claims, now: datetime) -> Unit:
    return Unit(engine=services.engines[None], organization_id=claims.organization_id, user_id=claims.user_id, now=now)
