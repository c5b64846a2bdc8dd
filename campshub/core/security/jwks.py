"""The public keys of the issuers of ID tokens (JWKS): cached, and used for a day while their issuer is unavailable.

A key's algorithm follows from the key itself, never from the token.
"""

import contextlib
import http.client
import ipaddress
import logging
import math
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from ssl import SSLContext, create_default_context
from typing import Any
from urllib.parse import urlsplit

import orjson
from jwt import PyJWK, PyJWKClient
from jwt.exceptions import PyJWKClientConnectionError, PyJWKClientError, PyJWTError

from campshub.config import OidcIssuer, Settings, is_allowed_url
from campshub.core.circuit_breaker import CircuitBreaker
from campshub.core.errors import Unavailable
from campshub.core.observe import metrics

log = logging.getLogger(__name__)

MOST_BYTES = 256 * 1024
MOST_KEYS = 100
LEAST_RSA_BITS = 2048
PAUSE_S = 10.0  # of the circuit breaker
UNKNOWN_PAUSE_S = 60.0  # between two fetches because of unknown key ids
_ALGORITHMS = {("RSA", None): "RS256", ("EC", "P-256"): "ES256", ("OKP", "Ed25519"): "EdDSA"}
_DISCOVERY = "/.well-known/openid-configuration"
_HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "campshub"}


class IssuerUnavailable(Unavailable):
    """The token's issuer does not respond; retry shortly."""

    code = "issuer_away"
    default_detail = "The token's issuer does not respond; retry shortly."


@dataclass(frozen=True)
class _Cached:
    """The keys of one fetch."""

    keys: list[PyJWK]
    fetched_at: float

    def find(self, kid: str | None, algorithm: str) -> PyJWK | None:
        """Return the key with an id; for a token without a key id, the only key of the algorithm, if there is one."""
        matching = [key for key in self.keys if key.algorithm_name == algorithm and kid in (None, key.key_id)]
        return matching[0] if matching and (kid is not None or len(matching) == 1) else None


class IssuerKeys(PyJWKClient):
    """The keys of one issuer."""

    def __init__(self, issuer: OidcIssuer, settings: Settings, clock: Callable[[], float]) -> None:
        # PyJWT's cache forgets the keys when they expire, even if their issuer is unavailable.
        super().__init__(issuer.addresses[0], cache_jwk_set=False, timeout=settings.oidc_timeout_s)
        self._issuer = issuer
        self._settings = settings
        self._clock = clock
        self._breaker = CircuitBreaker(
            PAUSE_S, name=issuer.issuer, changed=metrics.breaker_open.labels(issuer.issuer).set, clock=clock
        )
        self._lock = threading.Lock()
        self._cached: _Cached | None = None
        self._unknown_at: float | None = None  # when an unknown key id led to the last fetch

    def find(self, kid: str | None, algorithm: str) -> PyJWK | None:
        """Return the key that a token names; None if the issuer has no such key.

        :raises IssuerUnavailable: its keys are not cached, and it does not respond.
        """
        cached = self._current()
        found = cached.find(kid, algorithm)
        if found is None and self._may_fetch_again():
            found = self._refreshed(cached, waits=True).find(kid, algorithm)
        return found

    def get_signing_keys(self, refresh: bool = False) -> list[PyJWK]:  # noqa: FBT001, FBT002 - PyJWKClient's signature
        """Fetch the keys that may verify tokens; PyJWT's own method skips keys without an id.

        :raises PyJWTError: there is none, or the issuer does not respond.
        """
        keys = [key for key in self.get_jwk_set(refresh) if key.key_type != "RSA" or key.key.key_size >= LEAST_RSA_BITS]
        if not keys:
            raise PyJWKClientError("there is no usable key")
        return keys

    def fetch_data(self) -> dict[str, Any]:
        """Fetch the key set, and keep only public keys of an allowed algorithm.

        :raises PyJWTError: the issuer does not respond, or not with a key set.
        """
        keys = self._document(self._key_set_url())["keys"][:MOST_KEYS]
        return {"keys": [{**key, "alg": _algorithm(key)} for key in keys if _algorithm(key) in self._issuer.algorithms]}

    def _current(self) -> _Cached:
        cached = self._cached
        age_s = self._age_s(cached)
        if cached is not None and age_s < self._settings.oidc_keys_life_s:
            return cached
        # While one caller fetches the keys again, the others use the cached ones.
        return self._refreshed(cached, waits=age_s >= self._settings.oidc_keys_kept_s)

    def _may_fetch_again(self) -> bool:
        """Return whether an unknown key id may cause a fetch: at most once a minute, since clients can invent ids."""
        now = self._clock()
        if self._unknown_at is not None and now - self._unknown_at < UNKNOWN_PAUSE_S:
            return False
        self._unknown_at = now
        return True

    def _refreshed(self, present: _Cached | None, *, waits: bool) -> _Cached:
        """Fetch the keys again, unless another caller has done so meanwhile; return the cached keys.

        :raises IssuerUnavailable: there are none, or they are too old.
        """
        if self._lock.acquire(blocking=waits):
            try:
                if self._cached is present and self._breaker.allows():
                    self._refresh()
            finally:
                self._lock.release()
        cached = self._cached
        if cached is None or self._age_s(cached) >= self._settings.oidc_keys_kept_s:
            raise IssuerUnavailable
        return cached

    def _age_s(self, cached: _Cached | None) -> float:
        return self._clock() - cached.fetched_at if cached is not None else math.inf

    def _refresh(self) -> None:
        try:
            keys = self.get_signing_keys()
        except (PyJWTError, ValueError, TypeError, KeyError, AttributeError) as error:
            log.warning("the keys of %s could not be read: %s", self._issuer.issuer, error)
            self._breaker.failed()
        else:
            self._breaker.succeeded()
            self._cached = _Cached(keys, self._clock())

    def _key_set_url(self) -> str:
        """Return the URL of the key set.

        :raises PyJWKClientError: the discovery document is another issuer's, or names a forbidden address.
        """
        if self._issuer.jwks_uri:
            return self._issuer.jwks_uri
        found = self._document(f"{self._issuer.issuer.rstrip('/')}{_DISCOVERY}")
        url = str(found["jwks_uri"])
        if found["issuer"] != self._issuer.issuer or not is_allowed_url(url, debug=self._settings.debug):
            raise PyJWKClientError("the discovery document belongs to another issuer, or names a forbidden address")
        return url

    def _document(self, url: str) -> Any:
        # Only the operator's settings may name a host of the private network, not a discovery document.
        is_configured = urlsplit(url).hostname == urlsplit(self.uri).hostname
        return orjson.loads(fetch(url, within_s=self.timeout, most_bytes=MOST_BYTES, allows_private=is_configured))


def _algorithm(key: Any) -> str | None:
    """Return the algorithm of a public key for signatures; None for any other key."""
    algorithm = _ALGORITHMS.get((key.get("kty"), key.get("crv")))
    is_for_signatures = key.get("use", "sig") == "sig" and key.get("alg", algorithm) == algorithm
    return algorithm if is_for_signatures and "d" not in key else None


def fetch(url: str, *, within_s: float, most_bytes: int, allows_private: bool) -> bytes:
    """Return the document at a URL; redirects are not followed.

    It waits only on sockets, so that other requests continue. A socket's time-out applies to each read, so a server
    that sends one byte per second would never reach it; therefore a timer closes the connection after ``within_s``.

    :raises PyJWKClientConnectionError: the server is unavailable, slow, sends too much, has a private address, or the
        status is not 200.
    """
    begun, connection, timer = time.monotonic(), _connection(url, within_s), None
    try:
        connection.connect()
        _require_public(connection.sock, allows_private=allows_private)
        # Pass the socket: the connection drops its socket if the server announces that it closes the connection.
        timer = threading.Timer(within_s, _shut_down, [connection.sock])
        timer.daemon = True
        timer.start()
        parts = urlsplit(url)
        connection.request("GET", f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}", headers=_HEADERS)
        response = connection.getresponse()
        if response.status != HTTPStatus.OK:
            raise PyJWKClientConnectionError(f"{url} responded with {response.status}")
        body = response.read(most_bytes + 1)
    except (OSError, http.client.HTTPException, ValueError, AttributeError) as error:
        # ValueError and AttributeError: the timer closed the connection during a read.
        raise PyJWKClientConnectionError(f"{url}: {type(error).__name__}") from error
    finally:
        if timer is not None:
            timer.cancel()
        connection.close()
    if time.monotonic() - begun >= within_s:
        raise PyJWKClientConnectionError(f"{url} took longer than {within_s} s")
    if len(body) > most_bytes:
        raise PyJWKClientConnectionError(f"{url} sent more than {most_bytes} bytes")
    return body


def _connection(url: str, within_s: float) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    if parts.scheme == "https":
        return http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=within_s, context=_trusted())
    return http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=within_s)


def _require_public(connected: socket.socket, *, allows_private: bool) -> None:
    """Check the address of the connected socket: DNS may change between a separate lookup and the connection.

    :raises PyJWKClientConnectionError: the address is private, and private addresses are not allowed.
    """
    peer = ipaddress.ip_address(connected.getpeername()[0].partition("%")[0])
    peer = getattr(peer, "ipv4_mapped", None) or peer
    if not allows_private and not peer.is_global:
        raise PyJWKClientConnectionError(f"{peer} is a private address")


def _shut_down(connected: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connected.shutdown(socket.SHUT_RDWR)


@lru_cache(maxsize=1)
def _trusted() -> SSLContext:
    """Return the TLS context with the system's certificate authorities, loaded once."""
    return create_default_context()
