"""Fast path: serve GETs for known URLs without entering Flask.

Flask's contexts, routing and hooks cost more than everything that a cached response needs: a known token, one call to
Redis (``lookup.first``: limits, the caller's state, the stamps and with them the response) and the bytes. The first
request to a URL goes through Flask, and so does every refusal: Flask continues from what was looked up here, so that
nothing is looked up or counted twice.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from flask import Flask, Request, Response
from flask.sessions import NullSession, SessionInterface, SessionMixin

from campshub.core.cache.memory import CachedResponse
from campshub.core.db import unit_of_work
from campshub.core.db.session import CallerRow, Unit
from campshub.core.errors import Problem
from campshub.core.http import lookup, middleware, read_routing, responses
from campshub.core.http.context import Lookup, RequestContext
from campshub.core.http.dispatch import FAILED, UNVERIFIED
from campshub.core.http.known_urls import ParsedRequest
from campshub.core.http.lookup import ASKED
from campshub.core.http.middleware import BrowserHeaders
from campshub.core.http.responses import RenderedResponse
from campshub.core.http.services import HttpServices
from campshub.core.observe.trace import Trace, at_work
from campshub.core.security.grants import authorize
from campshub.core.security.tokens import Claims

_BEARER = "Bearer "
_NO_SESSION = NullSession()
_STATUS = {status.value: f"{status.value} {status.phrase.upper()}" for status in HTTPStatus}

Environ = dict[str, Any]
Start = Callable[..., Any]


@dataclass(slots=True)
class _Read:
    """One request that the front answers."""

    environ: Environ
    address: ParsedRequest
    claims: Claims
    now: float
    begun: float
    trace: Trace
    known: Lookup = field(init=False)


class FastPath:
    """How an application answers again."""

    def __init__(
        self, app: Flask, services: HttpServices, hosts: frozenset[str] | None, browsers: BrowserHeaders
    ) -> None:
        self._app = app
        self._services = services
        self._hosts = hosts
        self._browsers = browsers

    def answer(self, environ: Environ, start_response: Start) -> Iterable[bytes] | None:
        """Answer a request whose address and caller are known; None: Flask has to."""
        if environ["REQUEST_METHOD"] != "GET" or environ.get("SCRIPT_NAME"):
            return None
        address = self._services.request_cache.get(environ)
        if address is None or "HTTP_IF_MATCH" in environ or not self._may_come(environ):
            return None
        claims = self._claims(environ.get("HTTP_AUTHORIZATION", ""))
        if claims is None:
            return None
        now, trace = time.time(), Trace(address.route, *middleware.request_ids(environ))
        read = _Read(environ, address, claims, now, time.perf_counter(), trace)
        try:
            read.known = lookup.first(self._services, claims, address.endpoint, address.digest, int(now))
        except Exception:  # noqa: BLE001 - Flask meets it again, and has the words for it
            return None
        finished = self._find(read)
        if finished is None:
            environ[ASKED], environ[middleware.BEGUN] = read.known, (read.begun, trace)
            return None
        return self._send(read, finished, start_response)

    def _may_come(self, environ: Environ) -> bool:
        return middleware.is_served_host(environ, self._hosts) and not self._browsers.is_open(environ)

    def _claims(self, header: str) -> Claims | None:
        if not header.startswith(_BEARER):
            return None
        return self._services.tokens.remembered(header[len(_BEARER) :])

    def _find(self, read: _Read) -> RenderedResponse | CachedResponse | None:
        """Return the answer; None where the edge has to say why there is none."""
        asked, caller, address = read.known.asked, read.known.caller, read.address
        if not asked.standing or caller is None or not self._services.caller_limits.standing(asked.standing).allowed:
            return None
        state, claims = caller.state, read.claims
        try:
            authorize(state, claims, address.endpoint.options.permission)
        except Problem:
            return None
        if self._services.api_keys.is_due(claims, read.environ.get("REMOTE_ADDR")):
            return None  # the edge notes where a key is used
        if read.known.place is not None:
            address.endpoint.figures.asked(found=read.known.cached, held=read.known.held)
            if claims.api_key_id is None:
                uses = self._services.popular_urls
                uses.note(claims.organization, claims.user, address.path, address.query_string, read.begun)
        return read.known.cached or self._made(read, state)

    def _made(self, read: _Read, state: CallerRow) -> RenderedResponse | CachedResponse | None:
        address, claims = read.address, read.claims
        now = datetime.fromtimestamp(read.now, UTC)
        unit = Unit(
            engine=self._services.engines[None],
            organization_id=claims.organization_id,
            user_id=claims.user_id,
            api_key_id=claims.api_key_id,
            now=now,
            trace_id=read.trace.trace_id,
            address=read.environ.get("REMOTE_ADDR"),
        )
        context = RequestContext.at(address, self._services, claims, unit, now)
        at_work.set(read.trace)
        try:
            context.admit(state)
            return read_routing.find(context, read.known)
        except Exception as failure:  # noqa: BLE001 - the edge raises it where every failure is told
            read.environ[FAILED] = failure
            return None
        finally:
            at_work.set(None)
            if unit.separate_writes:
                with self._app.app_context():
                    unit_of_work.run_separate_transactions(unit)

    def _send(self, read: _Read, finished: RenderedResponse | CachedResponse, start_response: Start) -> Iterable[bytes]:
        limits, known, trace = self._services.caller_limits, read.known, read.trace
        status, body, headers = responses.described(finished, read.environ.get("HTTP_IF_NONE_MATCH"))
        headers += (
            ("X-Request-ID", trace.request_id),
            *self._browsers.headers(read.environ),
        )
        headers += limits.headers(limits.standing(known.asked.standing), limits.plan(read.claims.requests_per_hour))
        if known.asked.is_unverified:
            headers.append(UNVERIFIED)
        if body:
            headers.append(("Content-Length", str(len(body))))
        start_response(_STATUS[status], headers)
        who = {
            "trace_id": trace.trace_id,
            "request_id": trace.request_id,
            "user_id": read.claims.user,
            "api_key_id": read.claims.api_key_id,
            "organization_id": read.claims.organization,
        }
        middleware.log_request("GET", read.address.route, status, read.begun, read.environ.get("REMOTE_ADDR"), who)
        return (body,)


class NoSessions(SessionInterface):
    """No cookie sessions: each request carries a token."""

    def open_session(self, app: Flask, request: Request) -> SessionMixin:  # noqa: ARG002 - Flask's own form
        """Return the session that is always empty."""
        return _NO_SESSION

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        """Store nothing."""


class Application(Flask):
    """A Flask application whose views are plain functions."""

    session_interface = NoSessions()
    front: FastPath | None = None

    def wsgi_app(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Respond from the fast path, else through Flask."""
        answered = self.front.answer(environ, start_response) if self.front else None
        if answered is not None:
            return answered
        whole: Iterable[bytes] = super().wsgi_app(environ, start_response)
        return whole

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function as it is: none of them is a coroutine."""
        return func
