"""Making the answers that are asked most before anyone asks: after a deployment, and on schedule.

An answer is made for the user who asks for it, who is looked up and admitted as for a request of theirs, so that it
stands under the key of exactly those who may be told it; whoever has lost access is refused, and forgotten. Nothing is
made that could not be kept, and nothing that is kept already. It gives way: after each answer it rests longer than that
took, it leaves the primary alone where there are replicas, and it ends where something is away or busy.
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
from campshub.core.freshness.replicas import ASKED_AGAIN_S, SpillFull
from campshub.core.http import lookup, read_routing
from campshub.core.http.context import Lookup, RequestContext
from campshub.core.http.known_urls import ParsedRequest
from campshub.core.http.services import HttpServices
from campshub.core.redis.connection import CacheUnavailable
from campshub.core.security.tokens import Claims

# Of the time, in parts: one to work, so many to rest.
REST = 3
# So often in a row what would be asked is left, before the rest is.
PATIENCE = 5


@dataclass
class Warmed:
    """What became of the addresses: made, kept already, refused to who asked for them, or left for lack of trust."""

    made: int = 0
    cached: int = 0
    refused: int = 0
    left: int = 0
    is_whole: bool = True


class ServersBusy(Exception):
    """Others need the servers; the rest is left."""


@dataclass
class Warmer:
    """One warming.

    :param per_second: how many answers are made in a second at the most.
    :param seconds: after how long it ends.
    :param rest: waits for some seconds.
    """

    app: Flask
    services: HttpServices
    per_second: float
    seconds: float = math.inf
    rest: Callable[[float], None] = time.sleep
    _ends_at: float = math.inf

    def warm(self, *, most: int, organization_id: UUID | None = None) -> Warmed:
        """Make what is asked most of each organization that is asked about, or of one."""
        warmed, uses, now = Warmed(), self.services.popular_urls, datetime.now(UTC)
        self._ends_at = time.perf_counter() + self.seconds
        try:
            for organization in [str(organization_id)] if organization_id else uses.organizations(now):
                self._warm(uses.most(organization, now, most=most), warmed)
        except (CacheUnavailable, ServersBusy, SpillFull, PoolTimeout, DBAPIError):
            warmed.is_whole = False
        return warmed

    def _warm(self, uses: Sequence[PopularUrl], warmed: Warmed) -> None:
        """Make answers one after the other.

        :raises ServersBusy: several in a row could not be kept, or the time is over.
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
            if outcome != "kept":
                self.rest(max(1 / self.per_second, REST * (time.perf_counter() - begun)))

    def _make(self, use: PopularUrl) -> str:
        """Make one answer, as for a request of the user; return what became of it.

        :raises Problem: the user would be refused it.
        """
        address = self._address(use)
        if address is None or not address.digest:
            return "refused"
        now = datetime.now(UTC)
        claims = Claims(UUID(use.user), UUID(use.organization), None, session_version=0, expires_at=0)
        context = RequestContext.at(address, self.services, claims, _unit(self.services, claims, now), now)
        known = lookup.ask_uncounted(context)
        if known.place is None or known.caller is None or known.asked.is_unverified:
            return "left"
        # There is no session that could have ended: what counts is what they may do at this moment.
        context.claims = replace(claims, session_version=known.caller.state.session_version or 0)
        context.admit(known.caller.state)
        if known.cached is not None:
            return "kept"
        if not self._has_room(context, known):
            return "left"
        try:
            read_routing.find(context, known)
        finally:
            unit_of_work.run_separate_transactions(context.unit)
        return "made"

    def _has_room(self, context: RequestContext, known: Lookup) -> bool:
        """Tell whether a replica has what is needed, which it may take a moment for; yes where there are none."""
        settings, until = self.services.settings, time.monotonic() + self.services.settings.replica_wait_s
        while settings.replicas and self.services.replicas.choose(context.unit, known.asked) is None:
            if time.monotonic() >= until:
                return False
            time.sleep(ASKED_AGAIN_S)
        return True

    def _address(self, use: PopularUrl) -> ParsedRequest | None:
        """Return what the application has at an address; None where it keeps nothing of it."""
        try:
            endpoint, given = self.app.url_map.bind("localhost").match(use.path, method="GET")
        except HTTPException:
            return None
        resource: Any = getattr(self.app.view_functions[endpoint], "view_class", None)
        handler = getattr(resource, "handlers", {}).get("GET")
        if (
            handler is None
            or handler.options.cache_policy is None
            or handler.options.is_system
            or handler.options.limits
        ):
            return None
        digest = handler.digest(use.path, use.query) if self.services.ttl_s(handler.options) > 0 else ""
        return ParsedRequest(handler, resource, endpoint, use.path, use.query, given, handler.parsed(use.query), digest)


def _unit(services: HttpServices, claims: Claims, now: datetime) -> Unit:
    return Unit(engine=services.engines[None], organization_id=claims.organization_id, user_id=claims.user_id, now=now)
