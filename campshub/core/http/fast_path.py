"""Fast path: serve GETs for known URLs without entering Flask.

Flask's contexts, routing and hooks cost more than everything that a cached response needs: a known token, one call to
Redis (``lookup.look_up_and_count``: limits, the caller's state, the stamps and with them the response) and the bytes.
The first request to a URL goes through Flask, and so does every refusal. Flask then uses the lookup of the fast
path, so that nothing is looked up or counted twice.
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
from campshub.core.http.lookup import LOOKUP
from campshub.core.http.middleware import BrowserHeaders
from campshub.core.http.responses import RenderedResponse
from campshub.core.http.services import HttpServices
from campshub.core.observe.trace import Trace, current_trace
from campshub.core.security.authorization import authorize
from campshub.core.security.tokens import Claims

_BEARER = "Bearer "
_NO_SESSION = NullSession()
_STATUS = {status.value: f"{status.value} {status.phrase.upper()}" for status in HTTPStatus}

Environ = dict[str, Any]
Start = Callable[..., Any]


@dataclass(slots=True)
class _Read:
    """One request on the fast path."""

    environ: Environ
    request: ParsedRequest
    claims: Claims
    now: float
    begun: float
    trace: Trace
    lookup: Lookup = field(init=False)


class FastPath:
    """Serves GETs for known URLs."""

    def __init__(
        self, app: Flask, services: HttpServices, hosts: frozenset[str] | None, browsers: BrowserHeaders
    ) -> None:
        self._app = app
        self._services = services
        self._hosts = hosts
        self._browsers = browsers

    def respond(self, environ: Environ, start_response: Start) -> Iterable[bytes] | None:
        """Respond to a request whose URL and token are known; return None if Flask must respond."""
        if environ["REQUEST_METHOD"] != "GET" or environ.get("SCRIPT_NAME"):
            return None
        parsed_request = self._services.request_cache.get(environ)
        if parsed_request is None or "HTTP_IF_MATCH" in environ or not self._is_accepted(environ):
            return None
        claims = self._claims(environ.get("HTTP_AUTHORIZATION", ""))
        if claims is None:
            return None
        now, trace = time.time(), Trace(parsed_request.route, *middleware.request_ids(environ))
        read = _Read(environ, parsed_request, claims, now, time.perf_counter(), trace)
        try:
            endpoint, digest = parsed_request.endpoint, parsed_request.digest
            tags = parsed_request.arguments.tags
            read.lookup = lookup.look_up_and_count(self._services, claims, endpoint, tags, digest, int(now))
        except Exception:  # noqa: BLE001 - it occurs again in Flask, whose error handlers render it
            return None
        rendered = self._find(read)
        if rendered is None:
            environ[LOOKUP], environ[middleware.BEGUN] = read.lookup, (read.begun, trace)
            return None
        return self._send(read, rendered, start_response)

    def _is_accepted(self, environ: Environ) -> bool:
        return middleware.is_served_host(environ, self._hosts) and not self._browsers.lacks_tls(environ)

    def _claims(self, header: str) -> Claims | None:
        if not header.startswith(_BEARER):
            return None
        return self._services.tokens.remembered(header[len(_BEARER) :])

    def _find(self, read: _Read) -> RenderedResponse | CachedResponse | None:
        """Return the response; None if Flask must refuse the request, or record the use of a key."""
        reply, caller, parsed_request = read.lookup.reply, read.lookup.caller, read.request
        if (
            not reply.rate_limits
            or caller is None
            or not self._services.caller_limits.state_of(reply.rate_limits).allowed
        ):
            return None
        state, claims = caller.state, read.claims
        try:
            authorize(state, claims, parsed_request.endpoint.options.permission)
        except Problem:
            return None
        if self._services.api_keys.is_due(claims, read.environ.get("REMOTE_ADDR")):
            return None  # the dispatcher records where a key is used
        if read.lookup.cache_key is not None:
            parsed_request.endpoint.cache_metrics.count(found=read.lookup.cached, in_memory=read.lookup.candidate)
            if claims.api_key_id is None:
                path, query_string = parsed_request.path, parsed_request.query_string
                self._services.popular_urls.note(claims.organization, claims.user, path, query_string, read.begun)
        return read.lookup.cached or self._render(read, state)

    def _render(self, read: _Read, state: CallerRow) -> RenderedResponse | CachedResponse | None:
        claims = read.claims
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
        context = RequestContext.at(read.request, self._services, claims, unit, now)
        current_trace.set(read.trace)
        try:
            context.authorize(state)
            return read_routing.render(context, read.lookup)
        except Exception as failure:  # noqa: BLE001 - the dispatcher raises it, inside Flask's error handling
            read.environ[FAILED] = failure
            return None
        finally:
            current_trace.set(None)
            if unit.separate_writes:
                with self._app.app_context():
                    unit_of_work.run_separate_transactions(unit)

    def _send(self, read: _Read, rendered: RenderedResponse | CachedResponse, start_response: Start) -> Iterable[bytes]:
        limits, reply, trace = self._services.caller_limits, read.lookup.reply, read.trace
        status, body, headers = responses.parts_to_send(rendered, read.environ.get("HTTP_IF_NONE_MATCH"))
        headers += (
            ("X-Request-ID", trace.request_id),
            *self._browsers.headers(read.environ),
        )
        headers += limits.headers(limits.state_of(reply.rate_limits), limits.plan(read.claims.requests_per_hour))
        if reply.is_unverified:
            headers.append(UNVERIFIED)
        if body:
            headers.append(("Content-Length", str(len(body))))
        start_response(_STATUS[status], headers)
        ids = {
            "trace_id": trace.trace_id,
            "request_id": trace.request_id,
            "user_id": read.claims.user,
            "api_key_id": read.claims.api_key_id,
            "organization_id": read.claims.organization,
        }
        middleware.log_request("GET", read.request.route, status, read.begun, read.environ.get("REMOTE_ADDR"), ids)
        return (body,)


class NoSessions(SessionInterface):
    """No cookie sessions: each request carries a token."""

    def open_session(self, app: Flask, request: Request) -> SessionMixin:  # noqa: ARG002 - Flask's signature
        """Return an empty session."""
        return _NO_SESSION

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        """Store nothing."""


class Application(Flask):
    """The Flask application, with the fast path before its routing."""

    session_interface = NoSessions()
    fast_path: FastPath | None = None

    def wsgi_app(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Respond on the fast path, else through Flask."""
        body = self.fast_path.respond(environ, start_response) if self.fast_path else None
        if body is not None:
            return body
        response: Iterable[bytes] = super().wsgi_app(environ, start_response)
        return response

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function unchanged: no view is a coroutine."""
        return func
