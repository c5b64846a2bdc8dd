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

from campshub.config import OidcIssuer, Settings, may_be_asked
from campshub.core.circuit_breaker import CircuitBreaker
from campshub.core.errors import Unavailable
from campshub.core.observe import metrics

log = logging.getLogger(__name__)

MOST_BYTES = 256 * 1024
MOST_KEYS = 100
LEAST_RSA_BITS = 2048
PAUSE_S = 10.0
UNKNOWN_PAUSE_S = 60.0
_ALGORITHMS = {("RSA", None): "RS256", ("EC", "P-256"): "ES256", ("OKP", "Ed25519"): "EdDSA"}
_DISCOVERY = "/.well-known/openid-configuration"
_HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "campshub"}


class IssuerUnavailable(Unavailable):
    """The issuer of this token does not answer; try again in a moment."""

    code = "issuer_away"
    default_detail = "The issuer of this token does not answer; try again in a moment."


@dataclass(frozen=True)
class _Cached:
    """The keys of one fetch."""

    keys: list[PyJWK]
    fetched_at: float

    def find(self, kid: str | None, algorithm: str) -> PyJWK | None:
        """Return the key of an id; a token without one has the only key that there is."""
        fitting = [key for key in self.keys if key.algorithm_name == algorithm and kid in (None, key.key_id)]
        return fitting[0] if fitting and (kid is not None or len(fitting) == 1) else None


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
        """Return the key that a token names; None where the issuer has no such key.

        :raises IssuerUnavailable: its keys are not known, and it does not answer.
        """
        cached = self._current()
        found = cached.find(kid, algorithm)
        if found is None and self._may_look_again():
            found = self._refreshed(cached, waits=True).find(kid, algorithm)
        return found

    def get_signing_keys(self, refresh: bool = False) -> list[PyJWK]:  # noqa: FBT001, FBT002 - PyJWKClient's signature
        """Fetch the keys that may verify; PyJWT's own leaves out a key without an id.

        :raises PyJWTError: there is none, or the issuer does not answer.
        """
        keys = [key for key in self.get_jwk_set(refresh) if key.key_type != "RSA" or key.key.key_size >= LEAST_RSA_BITS]
        if not keys:
            raise PyJWKClientError("there is no key that can be used")
        return keys

    def fetch_data(self) -> dict[str, Any]:
        """Fetch the key set, and leave out what is no public key of an allowed algorithm.

        :raises PyJWTError: the issuer does not answer, or with another document.
        """
        keys = self._document(self._address())["keys"][:MOST_KEYS]
        return {"keys": [{**key, "alg": _algorithm(key)} for key in keys if _algorithm(key) in self._issuer.algorithms]}

    def _current(self) -> _Cached:
        cached = self._cached
        age_s = self._age_s(cached)
        if cached is not None and age_s < self._settings.oidc_keys_life_s:
            return cached
        # While one caller fetches them again, the others go on with the cached ones.
        return self._refreshed(cached, waits=age_s >= self._settings.oidc_keys_kept_s)

    def _may_look_again(self) -> bool:
        """Return whether an unknown key id may lead to a fetch: invented ones do so once a minute."""
        now = self._clock()
        if self._unknown_at is not None and now - self._unknown_at < UNKNOWN_PAUSE_S:
            return False
        self._unknown_at = now
        return True

    def _refreshed(self, present: _Cached | None, *, waits: bool) -> _Cached:
        """Fetch the keys again, unless another caller has done so since; return those that are there then.

        :raises IssuerUnavailable: there are none, or none that may still be used.
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

    def _address(self) -> str:
        """Return where the key set is.

        :raises PyJWKClientError: the discovery document is another issuer's, or names a forbidden address.
        """
        if self._issuer.jwks_uri:
            return self._issuer.jwks_uri
        found = self._document(f"{self._issuer.issuer.rstrip('/')}{_DISCOVERY}")
        address = str(found["jwks_uri"])
        if found["issuer"] != self._issuer.issuer or not may_be_asked(address, debug=self._settings.debug):
            raise PyJWKClientError("the discovery document is another issuer's, or names a forbidden address")
        return address

    def _document(self, address: str) -> Any:
        # Only the operator may name a host of the private network, not a discovery document.
        is_set = urlsplit(address).hostname == urlsplit(self.uri).hostname
        return orjson.loads(fetch(address, within_s=self.timeout, most_bytes=MOST_BYTES, allows_private=is_set))


def _algorithm(key: Any) -> str | None:
    """Return the algorithm of a public key for signatures; None for anything else."""
    algorithm = _ALGORITHMS.get((key.get("kty"), key.get("crv")))
    is_for_signatures = key.get("use", "sig") == "sig" and key.get("alg", algorithm) == algorithm
    return algorithm if is_for_signatures and "d" not in key else None


def fetch(address: str, *, within_s: float, most_bytes: int, allows_private: bool) -> bytes:
    """Return the document at an address; redirects are not followed.

    It waits only on sockets, so that other requests go on. A socket's time-out counts for each read, and a server that
    sends a byte a second would never reach it; so the connection is closed when the time has passed.

    :raises PyJWKClientConnectionError: the server is unavailable, slow, sends too much, does not answer 200, or has a
        private address.
    """
    begun, connection, guard = time.monotonic(), _connection(address, within_s), None
    try:
        connection.connect()
        _require_public(connection.sock, allows_private=allows_private)
        # The connection forgets its socket where the server is to close it.
        guard = threading.Timer(within_s, _cut, [connection.sock])
        guard.daemon = True
        guard.start()
        parts = urlsplit(address)
        connection.request("GET", f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}", headers=_HEADERS)
        answer = connection.getresponse()
        if answer.status != HTTPStatus.OK:
            raise PyJWKClientConnectionError(f"{address} answered {answer.status}")
        found = answer.read(most_bytes + 1)
    except (OSError, http.client.HTTPException, ValueError, AttributeError) as error:
        # The last two: it was cut while it read.
        raise PyJWKClientConnectionError(f"{address}: {type(error).__name__}") from error
    finally:
        if guard is not None:
            guard.cancel()
        connection.close()
    if time.monotonic() - begun >= within_s:
        raise PyJWKClientConnectionError(f"{address} took longer than {within_s} s")
    if len(found) > most_bytes:
        raise PyJWKClientConnectionError(f"{address} sent more than {most_bytes} bytes")
    return found


def _connection(address: str, within_s: float) -> http.client.HTTPConnection:
    parts = urlsplit(address)
    if parts.scheme == "https":
        return http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=within_s, context=_trusted())
    return http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=within_s)


def _require_public(connected: socket.socket, *, allows_private: bool) -> None:
    """Look at the address that the name has led to: what it resolves to may change between a look-up and its use.

    :raises PyJWKClientConnectionError: it is private, and that is not allowed.
    """
    peer = ipaddress.ip_address(connected.getpeername()[0].partition("%")[0])
    peer = getattr(peer, "ipv4_mapped", None) or peer
    if not allows_private and not peer.is_global:
        raise PyJWKClientConnectionError(f"{peer} is a private address")


def _cut(connected: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connected.shutdown(socket.SHUT_RDWR)


@lru_cache(maxsize=1)
def _trusted() -> SSLContext:
    """Return the system's authorities, read once."""
    return create_default_context()
