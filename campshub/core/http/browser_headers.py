"""What browsers are told with every answer: keep nothing, run nothing, frame nothing, and come by TLS alone.

A page of another origin may read answers where ``CORS_ORIGINS`` lists it (WHATWG Fetch, section 3.2). Cookies are
never taken, so no answer allows credentials: whoever asks shows a token.
"""

from collections.abc import Mapping
from typing import Any

from campshub.config import Settings
from campshub.core.errors import TlsRequired

Headers = tuple[tuple[str, str], ...]

# ASVS 5.0: 3.4.3 to 3.4.6, 14.3.2. An answer is about people, so no browser keeps it; a client with a store of its own
# may, and asks with If-None-Match.
_STEADY: Headers = (
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
_BY_TLS: Headers = (*_STEADY, ("Strict-Transport-Security", "max-age=63072000; includeSubDomains"))

_METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE"
_MAY_SEND = "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, X-Request-ID, traceparent"
_MAY_READ = (
    "Allow, Campshub-Freshness, Content-Disposition, ETag, Idempotent-Replayed, Link, Location, RateLimit,"
    " RateLimit-Policy, Retry-After, WWW-Authenticate, X-Request-ID"
)
_READABLE = ("Access-Control-Expose-Headers", _MAY_READ)
_PREFLIGHT_S = 600


class Browsers:
    """What the settings say of browsers."""

    def __init__(self, settings: Settings) -> None:
        self._demands_tls = settings.demands_tls
        self._read: dict[str, Headers] = {}
        self._asked_before: dict[str, Headers] = {}
        for origin in settings.origins:
            allowed = ("Access-Control-Allow-Origin", origin)
            self._read[origin] = (allowed, _READABLE)
            self._asked_before[origin] = (
                allowed,
                ("Access-Control-Allow-Methods", _METHODS),
                ("Access-Control-Allow-Headers", _MAY_SEND),
                ("Access-Control-Max-Age", str(_PREFLIGHT_S)),
            )

    def headers(self, environ: Mapping[str, Any]) -> Headers:
        """Return what every answer to a request says."""
        steady = _BY_TLS if environ["wsgi.url_scheme"] == "https" else _STEADY
        origin = environ.get("HTTP_ORIGIN")
        return steady if origin is None else (*steady, *self._read.get(origin, ()))

    def for_unread_origin(self) -> Headers:
        """Return what a refusal adds whose Origin could not be read: any page may read it, it holds no data."""
        return (("Access-Control-Allow-Origin", "*"), _READABLE) if self._read else ()

    def preflight(self, environ: Mapping[str, Any]) -> Headers | None:
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
