"""The public keys of issuers of ID tokens: read from them, kept for a while, and for longer while an issuer is away.

A key's algorithm follows from what the key is, never from what a token says of itself.
"""

import logging
import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from jwt import PyJWK
from jwt.exceptions import PyJWTError

from campshub.config import OidcIssuer, Settings, may_be_asked
from campshub.core import fetching
from campshub.core.circuit_breaker import CircuitBreaker
from campshub.core.errors import Unavailable
from campshub.core.fetching import NotFetched
from campshub.core.observe import metrics

log = logging.getLogger(__name__)

MOST_BYTES = 256 * 1024
MOST_KEYS = 100
LEAST_RSA_BITS = 2048
PAUSE_S = 10.0
UNKNOWN_PAUSE_S = 60.0
_ALGORITHMS = {("RSA", None): "RS256", ("EC", "P-256"): "ES256", ("OKP", "Ed25519"): "EdDSA"}
_DISCOVERY = "/.well-known/openid-configuration"


class IssuerAway(Unavailable):
    """The issuer of this token does not answer; try again in a moment."""

    code = "issuer_away"


@dataclass(frozen=True)
class _Held:
    """The keys of one reading."""

    keys: Mapping[tuple[str | None, str], PyJWK]
    read_at: float

    def find(self, kid: str | None, algorithm: str) -> PyJWK | None:
        """Return the key of a name; a token without a name has the only key that there is."""
        if kid is not None:
            return self.keys.get((kid, algorithm))
        fitting = [key for (_, its), key in self.keys.items() if its == algorithm]
        return fitting[0] if len(fitting) == 1 else None


class IssuerKeys:
    """The keys of one issuer."""

    def __init__(self, issuer: OidcIssuer, settings: Settings, clock: Callable[[], float]) -> None:
        self._issuer = issuer
        self._settings = settings
        self._clock = clock
        self._breaker = CircuitBreaker(
            PAUSE_S, name=issuer.issuer, changed=metrics.breaker_open.labels(issuer.issuer).set, clock=clock
        )
        self._lock = threading.Lock()
        self._held: _Held | None = None
        self._unknown_at: float | None = None  # when a key that was not known made us read anew

    def find(self, kid: str | None, algorithm: str) -> PyJWK | None:
        """Return the key that a token names; None where the issuer has no such one.

        :raises IssuerAway: its keys are not known, and it does not answer.
        """
        held = self._present()
        found = held.find(kid, algorithm)
        if found is None and self._may_look_again():
            found = self._renewed(held, waits=True).find(kid, algorithm)
        return found

    def _present(self) -> _Held:
        held = self._held
        age_s = self._age_s(held)
        if held is not None and age_s < self._settings.oidc_keys_life_s:
            return held
        # While someone reads them anew, the others go on with what there is.
        return self._renewed(held, waits=age_s >= self._settings.oidc_keys_kept_s)

    def _may_look_again(self) -> bool:
        """Tell whether a name that is not known is reason enough to ask: whoever makes names up, once a minute."""
        now = self._clock()
        if self._unknown_at is not None and now - self._unknown_at < UNKNOWN_PAUSE_S:
            return False
        self._unknown_at = now
        return True

    def _renewed(self, present: _Held | None, *, waits: bool) -> _Held:
        """Read the keys anew, unless someone else has done so since; return what there is then.

        :raises IssuerAway: there is nothing, or nothing that may still be used.
        """
        if self._lock.acquire(blocking=waits):
            try:
                if self._held is present and self._breaker.allows():
                    self._ask()
            finally:
                self._lock.release()
        held = self._held
        if held is None or self._age_s(held) >= self._settings.oidc_keys_kept_s:
            raise IssuerAway
        return held

    def _age_s(self, held: _Held | None) -> float:
        return self._clock() - held.read_at if held is not None else math.inf

    def _ask(self) -> None:
        try:
            keys = self._fetched()
        except (NotFetched, ValueError, TypeError, KeyError, AttributeError) as error:
            log.warning("the keys of %s could not be read: %s", self._issuer.issuer, error)
            self._breaker.failed()
        else:
            self._breaker.succeeded()
            self._held = _Held(keys, self._clock())

    def _fetched(self) -> dict[tuple[str | None, str], PyJWK]:
        """Read the keys.

        :raises NotFetched: the issuer does not answer, or with something else.
        """
        found = _keys_in(self._document(self._address()), self._issuer.algorithms)
        if not found:
            raise NotFetched("there is no key that could be used")
        return found

    def _address(self) -> str:
        if self._issuer.jwks_uri:
            return self._issuer.jwks_uri
        told = self._document(f"{self._issuer.issuer.rstrip('/')}{_DISCOVERY}")
        address = told["jwks_uri"]
        if told["issuer"] != self._issuer.issuer or not may_be_asked(address, debug=self._settings.debug):
            raise NotFetched("the discovery document is another issuer's, or names an address that is not asked")
        return str(address)

    def _document(self, address: str) -> Any:
        body = fetching.fetch(address, within_s=self._settings.oidc_timeout_s, most_bytes=MOST_BYTES)
        return orjson.loads(body)


def _keys_in(document: Any, allowed: frozenset[str]) -> dict[tuple[str | None, str], PyJWK]:
    """Return the keys that sign by an allowed algorithm, by name and algorithm; what else stands there is left out."""
    found: dict[tuple[str | None, str], PyJWK] = {}
    for given in document["keys"][:MOST_KEYS]:
        algorithm = _ALGORITHMS.get((given.get("kty"), given.get("crv")))
        if algorithm not in allowed or given.get("use", "sig") != "sig" or given.get("alg", algorithm) != algorithm:
            continue
        if "d" in given or not isinstance(given.get("kid", ""), str):  # nobody's public key
            continue
        try:
            key = PyJWK(given, algorithm)
        except PyJWTError:
            continue
        if algorithm == "RS256" and key.key.key_size < LEAST_RSA_BITS:
            continue
        found.setdefault((given.get("kid"), algorithm), key)
    return found
