"""The chain around every request: ids and the host before it; headers, one log line and the figures after it."""

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

from campshub.core.errors import UnlistedHost
from campshub.core.http.browser_headers import Browsers
from campshub.core.http.error_handlers import render
from campshub.core.observe import logs, metrics, slow_requests
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


def init_app(app: Flask, hosts: frozenset[str] | None, browsers: Browsers) -> None:
    """Put the chain around every request; ``hosts`` are those that are served, None any."""

    @app.before_request
    def begin() -> Response | None:
        here: Any = g._get_current_object()  # noqa: SLF001 - each use of the proxy looks it up
        environ = request.environ
        here.now = datetime.now(UTC)
        here.started, trace = environ.get(BEGUN) or (time.perf_counter(), Trace(_route(request), *ids(environ)))
        here.trace_id, here.request_id = trace.trace_id, trace.request_id
        at_work.set(trace)
        if environ["PATH_INFO"] in PROBES:
            return None
        if not is_ours(environ, hosts):
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
        done(asked.method, _route(asked), answer.status_code, here.get("started"), asked.remote_addr, here.__dict__)
        return answer


def _moved(address: str) -> Response:
    return Response(status=HTTPStatus.PERMANENT_REDIRECT, headers={"Location": address})


def _route(asked: Request) -> str:
    return asked.url_rule.rule if asked.url_rule else "unknown"


def done(
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


def ids(environ: Mapping[str, Any]) -> tuple[str, str]:
    """Return the trace id (W3C Trace Context) and the request id; those of the caller where they are well formed."""
    parent, given = environ.get("HTTP_TRACEPARENT"), environ.get("HTTP_X_REQUEST_ID")
    found = _TRACEPARENT.fullmatch(parent) if parent else None
    trace_id = found[1] if found else f"{random.getrandbits(128):032x}"
    return trace_id, given if given and _REQUEST_ID.fullmatch(given) else trace_id


def is_ours(environ: Mapping[str, Any], hosts: frozenset[str] | None) -> bool:
    """Tell whether the host that a request names is served here."""
    return hosts is None or _host_name(environ.get("HTTP_HOST", "")) in hosts


@lru_cache(maxsize=1024)
def _host_name(header: str) -> str:
    """Return the host that a header names, without its port; nothing where it is not of that form."""
    found = _HOST.fullmatch(header.lower())
    return found[1] if found else ""
