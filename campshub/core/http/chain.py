"""The chain around every request: ids and the host before it; headers, one log line and the figures after it."""

import logging
import re
import secrets
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from flask import Flask, Request, Response, g, request
from werkzeug.datastructures import Headers

from campshub.config import Settings
from campshub.core.http.errors import render
from campshub.core.http.problems import UnlistedHost
from campshub.core.observe import metrics

log = logging.getLogger("campshub.requests")

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HOST = re.compile(r"([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})
# Not even loopback is exempt from the host check; these addresses are, since probes name machines by address.
PROBES = frozenset({"/live/", "/ready/", "/health/", "/metrics/"})


def init_app(app: Flask, settings: Settings) -> None:
    """Put the chain around every request."""
    hosts = None if "*" in settings.hosts else settings.hosts
    log_requests = log.isEnabledFor(logging.INFO)

    @app.before_request
    def begin() -> Response | None:
        here: Any = g._get_current_object()  # noqa: SLF001 - each use of the proxy looks it up
        environ = request.environ
        here.started = time.perf_counter()
        here.now = datetime.now(UTC)
        here.trace_id, here.request_id = _ids(environ)
        if hosts is not None and environ["PATH_INFO"] not in PROBES and _host_name(environ) not in hosts:
            return render(UnlistedHost())
        return None

    @app.after_request
    def end(answer: Response) -> Response:
        here: Any = g._get_current_object()  # noqa: SLF001 - see above
        asked: Request = request._get_current_object()  # type: ignore[attr-defined] # noqa: SLF001 - see above
        seconds = time.perf_counter() - here.started if "started" in here else 0.0
        route = asked.url_rule.rule if asked.url_rule else "unknown"
        _head(answer.headers, here.get("request_id", ""))
        if "limits" in here:
            answer.headers.extend(here.limits)
        # A caller may invent methods; each would be a counter of its own.
        method = asked.method if asked.method in _METHODS else "other"
        metrics.request_done(method, route, answer.status_code, seconds)
        if log_requests and asked.path not in PROBES:
            log.info("request", extra=_line(asked, here, answer.status_code, route, seconds))
        return answer


def _head(headers: Headers, request_id: str) -> None:
    """Set what every answer carries."""
    headers["X-Request-ID"] = request_id
    if "Cache-Control" not in headers:
        headers["Cache-Control"] = "private, no-cache"
    headers["Vary"] = "Authorization"
    headers["X-Content-Type-Options"] = "nosniff"


def _ids(environ: Mapping[str, Any]) -> tuple[str, str]:
    """Return the trace id (W3C Trace Context) and the request id; those of the caller where they are well formed."""
    parent = _TRACEPARENT.fullmatch(environ.get("HTTP_TRACEPARENT", ""))
    trace_id = parent[1] if parent else secrets.token_hex(16)
    given = environ.get("HTTP_X_REQUEST_ID", "")
    return trace_id, given if given and _REQUEST_ID.fullmatch(given) else trace_id


def _host_name(environ: Mapping[str, Any]) -> str:
    """Return the host that the request names, without its port; nothing where it is not of that form."""
    found = _HOST.fullmatch(environ.get("HTTP_HOST", "").lower())
    return found[1] if found else ""


def _line(asked: Request, here: Any, status: int, route: str, seconds: float) -> dict[str, object]:
    return {
        "method": asked.method,
        "route": route,
        "status": status,
        "milliseconds": round(seconds * 1000, 2),
        "user_id": here.get("user_id"),
        "organization_id": here.get("organization_id"),
        "problem": here.get("problem"),
        "address": asked.remote_addr,
    }
