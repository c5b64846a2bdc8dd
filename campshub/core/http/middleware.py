"""Middleware around every request: ids and the host check before it; headers, one log line and metrics after it.

``BrowserHeaders`` has the headers for browsers. A page of another origin may read responses where ``CORS_ORIGINS``
lists it (WHATWG Fetch, section 3.2). No response allows credentials, because clients send a token and never a cookie.
"""

import random
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from http import HTTPStatus
from typing import Any

from flask import Flask, Request, Response, g, request
from werkzeug.datastructures import Headers

from campshub.config import Settings
from campshub.core.errors import TlsRequired, UnlistedHost
from campshub.core.http import slow_requests
from campshub.core.http.error_handlers import render
from campshub.core.observe import logs, metrics
from campshub.core.observe.trace import Trace, current_trace

log = logs.RequestLog()

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HOST = re.compile(r"([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")
# Version ff, and ids of zeros only, are invalid (W3C Trace Context, section 3.2.2).
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})
# These paths are exempt from the host check, because probes use IP addresses as host names; loopback is not exempt.
# Each path also works without its last slash.
PROBES = frozenset(f"/{name}{slash}" for name in ("live", "ready", "health", "metrics") for slash in ("", "/"))
# The start and the trace of a request that was on the fast path before Flask.
BEGUN = "campshub.begun"

HeaderList = tuple[tuple[str, str], ...]

# ASVS 5.0: 3.4.3 to 3.4.6, 14.3.2. Responses contain personal data, so browsers must not store them. A client with its
# own storage may, and sends If-None-Match.
_SECURITY: HeaderList = (
    ("Cache-Control", "no-store"),
    ("Vary", "Authorization, Origin"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
    ("Permissions-Policy", "camera=(), geolocation=(), microphone=()"),
)
# Two years, as browsers' preload lists require; sent over TLS only (RFC 6797, section 7.2).
_OVER_TLS: HeaderList = (*_SECURITY, ("Strict-Transport-Security", "max-age=63072000; includeSubDomains"))

_CORS_METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE"
_REQUEST_HEADERS = "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, X-Request-ID, traceparent"
_RESPONSE_HEADERS = (
    "Allow, Campshub-Freshness, Content-Disposition, ETag, Idempotent-Replayed, Link, Location, RateLimit,"
    " RateLimit-Policy, Retry-After, WWW-Authenticate, X-Request-ID"
)
_EXPOSED = ("Access-Control-Expose-Headers", _RESPONSE_HEADERS)
_PREFLIGHT_S = 600


class BrowserHeaders:
    """The headers for browsers, from the settings."""

    def __init__(self, settings: Settings) -> None:
        self._demands_tls = settings.demands_tls
        self._read: dict[str, HeaderList] = {}
        self._preflights: dict[str, HeaderList] = {}
        for origin in settings.origins:
            allowed = ("Access-Control-Allow-Origin", origin)
            self._read[origin] = (allowed, _EXPOSED)
            self._preflights[origin] = (
                allowed,
                ("Access-Control-Allow-Methods", _CORS_METHODS),
                ("Access-Control-Allow-Headers", _REQUEST_HEADERS),
                ("Access-Control-Max-Age", str(_PREFLIGHT_S)),
            )

    def headers(self, environ: Mapping[str, Any]) -> HeaderList:
        """Return the headers of every response to a request."""
        headers = _OVER_TLS if environ["wsgi.url_scheme"] == "https" else _SECURITY
        origin = environ.get("HTTP_ORIGIN")
        return headers if origin is None else (*headers, *self._read.get(origin, ()))

    def for_unread_origin(self) -> HeaderList:
        """Return headers for an error response if the Origin is unknown: any page may read it, it contains no data."""
        return (("Access-Control-Allow-Origin", "*"), _EXPOSED) if self._read else ()

    def preflight(self, environ: Mapping[str, Any]) -> HeaderList | None:
        """Return the headers of the response to a CORS preflight; None if the request is no preflight."""
        if environ["REQUEST_METHOD"] != "OPTIONS" or "HTTP_ACCESS_CONTROL_REQUEST_METHOD" not in environ:
            return None
        return self._preflights.get(environ.get("HTTP_ORIGIN", ""))

    def lacks_tls(self, environ: Mapping[str, Any]) -> bool:
        """Return whether a request came without TLS although TLS is required."""
        return self._demands_tls and environ["wsgi.url_scheme"] != "https"

    def https_url(self, environ: Mapping[str, Any], url: str) -> str:
        """Return the HTTPS URL for a request that came without TLS.

        A request with a secret or a change is refused instead of redirected: it could be read on the way already, and
        would be each time (ASVS 5.0: 4.1.2).

        :raises TlsRequired: the request has a secret or a change.
        """
        if environ["REQUEST_METHOD"] not in {"GET", "HEAD"} or "HTTP_AUTHORIZATION" in environ:
            raise TlsRequired
        return "https" + url.removeprefix("http")


def init_app(app: Flask, hosts: frozenset[str] | None, browsers: BrowserHeaders) -> None:
    """Register the middleware; ``hosts`` are the host names that are served, None means all."""

    @app.before_request
    def begin() -> Response | None:
        here: Any = g._get_current_object()  # noqa: SLF001 - each use of the proxy costs a look-up
        environ = request.environ
        here.now = datetime.now(UTC)
        here.started, trace = environ.get(BEGUN) or (time.perf_counter(), Trace(_route(request), *request_ids(environ)))
        here.trace_id, here.request_id = trace.trace_id, trace.request_id
        current_trace.set(trace)
        if environ["PATH_INFO"] in PROBES:
            return None
        if not is_served_host(environ, hosts):
            return render(UnlistedHost())
        if browsers.lacks_tls(environ):
            return _redirect(browsers.https_url(environ, request.url))
        allowed = browsers.preflight(environ)
        return Response(status=HTTPStatus.NO_CONTENT, headers=Headers(allowed)) if allowed else None

    @app.after_request
    def end(response: Response) -> Response:
        here: Any = g._get_current_object()  # noqa: SLF001 - see above
        current: Request = request._get_current_object()  # type: ignore[attr-defined] # noqa: SLF001 - see above
        headers = response.headers
        headers["X-Request-ID"] = here.get("request_id", "")
        for name, value in browsers.headers(current.environ):
            headers.setdefault(name, value)
        if "limits" in here:
            headers.extend(here.limits)
        current_trace.set(None)
        status, started = response.status_code, here.get("started")
        log_request(current.method, _route(current), status, started, current.remote_addr, here.__dict__)
        return response


def _redirect(url: str) -> Response:
    return Response(status=HTTPStatus.PERMANENT_REDIRECT, headers={"Location": url})


def _route(current: Request) -> str:
    return current.url_rule.rule if current.url_rule else "unknown"


def log_request(
    method: str, route: str, status: int, begun: float | None, address: str | None, known: Mapping[str, Any]
) -> None:
    """Record a response in metrics and log; ``known`` has the request's ids, its caller and its problem code."""
    seconds = time.perf_counter() - begun if begun is not None else 0.0
    # A client can send any method name, and each would be a time series of its own.
    label = method if method in _METHODS else "other"
    metrics.count_request(label, route, status, seconds)
    if route not in PROBES:
        if seconds > slow_requests.OVER_S:
            slow_requests.note(route, seconds)
        log.write(method, route, status, seconds, address, known)


def request_ids(environ: Mapping[str, Any]) -> tuple[str, str]:
    """Return the trace id (W3C Trace Context) and the request id: the client's own if they are valid."""
    parent, sent_id = environ.get("HTTP_TRACEPARENT"), environ.get("HTTP_X_REQUEST_ID")
    found = _TRACEPARENT.fullmatch(parent) if parent else None
    trace_id = found[1] if found else f"{random.getrandbits(128):032x}"
    return trace_id, sent_id if sent_id and _REQUEST_ID.fullmatch(sent_id) else trace_id


def is_served_host(environ: Mapping[str, Any], hosts: frozenset[str] | None) -> bool:
    """Return whether the host name of a request is served."""
    return hosts is None or _host_name(environ.get("HTTP_HOST", "")) in hosts


@lru_cache(maxsize=1024)
def _host_name(header: str) -> str:
    """Return the host name of a Host header without the port; empty if it is malformed."""
    found = _HOST.fullmatch(header.lower())
    return found[1] if found else ""
