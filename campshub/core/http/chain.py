"""The chain around every request: ids and the host before it; headers, one log line and the figures after it."""

import logging
import re
import secrets
import time
from datetime import UTC, datetime

from flask import Flask, Response, g, request

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
    hosts = settings.hosts
    log_requests = log.isEnabledFor(logging.INFO)

    @app.before_request
    def begin() -> Response | None:
        g.started = time.perf_counter()
        g.now = datetime.now(UTC)
        g.trace_id, g.request_id = _ids()
        if "*" not in hosts and request.path not in PROBES and _host_name() not in hosts:
            return render(UnlistedHost())
        return None

    @app.after_request
    def end(answer: Response) -> Response:
        seconds = time.perf_counter() - g.started if "started" in g else 0.0
        route = request.url_rule.rule if request.url_rule else "unknown"
        headers = answer.headers
        headers["X-Request-ID"] = g.get("request_id", "")
        if "limits" in g:
            headers.extend(g.limits)
        headers.setdefault("Cache-Control", "private, no-cache")
        headers["Vary"] = "Authorization"
        headers["X-Content-Type-Options"] = "nosniff"
        # A caller may invent methods; each would be a counter of its own.
        method = request.method if request.method in _METHODS else "other"
        metrics.requests.labels(method, route, answer.status_code).inc()
        metrics.latencies.labels(route).observe(seconds)
        if log_requests and request.path not in PROBES:
            log.info("request", extra=_line(answer, route, seconds))
        return answer


def _ids() -> tuple[str, str]:
    """Return the trace id (W3C Trace Context) and the request id; those of the caller where they are well formed."""
    parent = _TRACEPARENT.fullmatch(request.headers.get("traceparent", ""))
    trace_id = parent[1] if parent else secrets.token_hex(16)
    given = request.headers.get("X-Request-ID", "")
    return trace_id, given if _REQUEST_ID.fullmatch(given) else trace_id


def _host_name() -> str:
    """Return the host that the request names, without its port; nothing where it is not of that form."""
    found = _HOST.fullmatch(request.environ.get("HTTP_HOST", "").lower())
    return found[1] if found else ""


def _line(answer: Response, route: str, seconds: float) -> dict[str, object]:
    return {
        "method": request.method,
        "route": route,
        "status": answer.status_code,
        "milliseconds": round(seconds * 1000, 2),
        "user_id": g.get("user_id"),
        "organization_id": g.get("organization_id"),
        "problem": g.get("problem"),
        "address": request.remote_addr,
    }
