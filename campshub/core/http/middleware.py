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
from campshub.core.observe.trace import Trace, at_work

log = logs.RequestLog()

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HOST = re.compile(r"([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})
# Not even loopback is exempt from the host check; these addresses are, since probes name machines by address. Each is
# answered without its last slash as well.
PROBES = frozenset(f"/{name}{slash}" for name in ("live", "ready", "health", "metrics") for slash in ("", "/"))
# When the request began and its trace, where something came before Flask.
BEGUN = "campshub.begun"

HeaderList = tuple[tuple[str, str], ...]

# ASVS 5.0: 3.4.3 to 3.4.6, 14.3.2. An answer is about people, so no browser keeps it; a client with a store of its own
# may, and asks with If-None-Match.
_STEADY: HeaderList = (
    ("Cache-Control", "no-store"),
    ("Vary", "Authorization, Origin"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
    ("Permissions-Policy", "camera=(), geolocation=(), microphone=()"),
)
# Two years, as lists of browsers ask for; said over TLS alone (RFC 6797, section 7.2).
_BY_TLS: HeaderList = (*_STEADY, ("Strict-Transport-Security", "max-age=63072000; includeSubDomains"))

_CORS_METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE"
_MAY_SEND = "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, X-Request-ID, traceparent"
_MAY_READ = (
    "Allow, Campshub-Freshness, Content-Disposition, ETag, Idempotent-Replayed, Link, Location, RateLimit,"
    " RateLimit-Policy, Retry-After, WWW-Authenticate, X-Request-ID"
)
_READABLE = ("Access-Control-Expose-Headers", _MAY_READ)
_PREFLIGHT_S = 600


class BrowserHeaders:
    """What the settings say of browsers."""

    def __init__(self, settings: Settings) -> None:
        self._demands_tls = settings.demands_tls
        self._read: dict[str, HeaderList] = {}
        self._asked_before: dict[str, HeaderList] = {}
        for origin in settings.origins:
            allowed = ("Access-Control-Allow-Origin", origin)
            self._read[origin] = (allowed, _READABLE)
            self._asked_before[origin] = (
                allowed,
                ("Access-Control-Allow-Methods", _CORS_METHODS),
                ("Access-Control-Allow-Headers", _MAY_SEND),
                ("Access-Control-Max-Age", str(_PREFLIGHT_S)),
            )

    def headers(self, environ: Mapping[str, Any]) -> HeaderList:
        """Return what every answer to a request says."""
        steady = _BY_TLS if environ["wsgi.url_scheme"] == "https" else _STEADY
        origin = environ.get("HTTP_ORIGIN")
        return steady if origin is None else (*steady, *self._read.get(origin, ()))

    def for_unread_origin(self) -> HeaderList:
        """Return what a refusal adds whose Origin could not be read: any page may read it, it holds no data."""
        return (("Access-Control-Allow-Origin", "*"), _READABLE) if self._read else ()

    def preflight(self, environ: Mapping[str, Any]) -> HeaderList | None:
        """Return what a browser is told that asks whether it may ask; None where it does not ask that."""
        if environ["REQUEST_METHOD"] != "OPTIONS" or "HTTP_ACCESS_CONTROL_REQUEST_METHOD" not in environ:
            return None
        return self._asked_before.get(environ.get("HTTP_ORIGIN", ""))

    def is_open(self, environ: Mapping[str, Any]) -> bool:
        """Tell whether a request came in the open although it must not."""
        return self._demands_tls and environ["wsgi.url_scheme"] != "https"

    def secure_address(self, environ: Mapping[str, Any], url: str) -> str:
        """Return where a request that came in the open has to go instead.

        Whoever has sent a secret or a change is told, not helped on: it has been read on the way already, and would be
        each time (ASVS 5.0: 4.1.2).

        :raises TlsRequired: it carries one.
        """
        if environ["REQUEST_METHOD"] not in {"GET", "HEAD"} or "HTTP_AUTHORIZATION" in environ:
            raise TlsRequired
        return "https" + url.removeprefix("http")


def init_app(app: Flask, hosts: frozenset[str] | None, browsers: BrowserHeaders) -> None:
    """Put the chain around every request; ``hosts`` are those that are served, None any."""

    @app.before_request
    def begin() -> Response | None:
        here: Any = g._get_current_object()  # noqa: SLF001 - each use of the proxy looks it up
        environ = request.environ
        here.now = datetime.now(UTC)
        here.started, trace = environ.get(BEGUN) or (time.perf_counter(), Trace(_route(request), *request_ids(environ)))
        here.trace_id, here.request_id = trace.trace_id, trace.request_id
        at_work.set(trace)
        if environ["PATH_INFO"] in PROBES:
            return None
        if not is_served_host(environ, hosts):
            return render(UnlistedHost())
        if browsers.is_open(environ):
            return _moved(browsers.secure_address(environ, request.url))
        allowed = browsers.preflight(environ)
        return Response(status=HTTPStatus.NO_CONTENT, headers=Headers(allowed)) if allowed else None

    @app.after_request
    def end(answer: Response) -> Response:
        here: Any = g._get_current_object()  # noqa: SLF001 - see above
        asked: Request = request._get_current_object()  # type: ignore[attr-defined] # noqa: SLF001 - see above
        headers = answer.headers
        headers["X-Request-ID"] = here.get("request_id", "")
        for name, value in browsers.headers(asked.environ):
            headers.setdefault(name, value)
        if "limits" in here:
            headers.extend(here.limits)
        at_work.set(None)
        log_request(
            asked.method, _route(asked), answer.status_code, here.get("started"), asked.remote_addr, here.__dict__
        )
        return answer


def _moved(address: str) -> Response:
    return Response(status=HTTPStatus.PERMANENT_REDIRECT, headers={"Location": address})


def _route(asked: Request) -> str:
    return asked.url_rule.rule if asked.url_rule else "unknown"


def log_request(
    method: str, route: str, status: int, begun: float | None, address: str | None, known: Mapping[str, Any]
) -> None:
    """Count an answer and write its line; ``known`` has the request's ids, who asked, and the code of its problem."""
    seconds = time.perf_counter() - begun if begun is not None else 0.0
    # A caller may invent methods; each would be a counter of its own.
    told = method if method in _METHODS else "other"
    metrics.request_done(told, route, status, seconds)
    if route not in PROBES:
        if seconds > slow_requests.OVER_S:
            slow_requests.note(route, seconds)
        log.tell(method, route, status, seconds, address, known)


def request_ids(environ: Mapping[str, Any]) -> tuple[str, str]:
    """Return the trace id (W3C Trace Context) and the request id; those of the caller where they are well formed."""
    parent, given = environ.get("HTTP_TRACEPARENT"), environ.get("HTTP_X_REQUEST_ID")
    found = _TRACEPARENT.fullmatch(parent) if parent else None
    trace_id = found[1] if found else f"{random.getrandbits(128):032x}"
    return trace_id, given if given and _REQUEST_ID.fullmatch(given) else trace_id


def is_served_host(environ: Mapping[str, Any], hosts: frozenset[str] | None) -> bool:
    """Tell whether the host that a request names is served here."""
    return hosts is None or _host_name(environ.get("HTTP_HOST", "")) in hosts


@lru_cache(maxsize=1024)
def _host_name(header: str) -> str:
    """Return the host that a header names, without its port; nothing where it is not of that form."""
    found = _HOST.fullmatch(header.lower())
    return found[1] if found else ""
