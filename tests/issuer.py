"""An OpenID Connect issuer for tests: a real HTTP server with a discovery document and keys that it rotates.

It can be down, slow, or return invalid data; it counts the requests that it receives.
"""

import base64
import json
import threading
import time
from collections import Counter
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from campshub.core.db.models import new_id

AUDIENCE = "campshub-tests"
DISCOVERY, KEYS = "/.well-known/openid-configuration", "/keys"
_WRITES = {"RS256": RSAAlgorithm, "ES256": ECAlgorithm, "EdDSA": OKPAlgorithm}


def new_key(algorithm: str, *, bits: int = 2048) -> Any:
    if algorithm == "RS256":
        return rsa.generate_private_key(public_exponent=65537, key_size=bits)
    return ec.generate_private_key(ec.SECP256R1()) if algorithm == "ES256" else ed25519.Ed25519PrivateKey.generate()


def encoded(value: Any) -> str:
    """Encode a part of a token by hand."""
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


class Issuer:
    """A server that issues ID tokens."""

    def __init__(self, *algorithms: str) -> None:
        self.algorithms = algorithms or ("RS256", "ES256")
        self.private: dict[str, tuple[str, Any]] = {}
        self.published: list[dict[str, Any]] = []
        self.requests: Counter[str] = Counter()
        self.overrides: dict[str, Any] = {}  # instead of the document, by path: bytes, a status, or a function
        self._server: Any = None
        self._thread: Any = None
        self.port = 0
        for algorithm in self.algorithms:
            self.rotate(algorithm)
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def rotate(self, algorithm: str) -> str:
        """Replace the signing key of an algorithm, and publish only the new one; return its key id."""
        kid, key = f"{algorithm}-{new_id().hex[-6:]}", new_key(algorithm)
        self.private[algorithm] = (kid, key)
        self.published = [one for one in self.published if one["alg"] != algorithm]
        self.published.append(self.public(algorithm))
        return kid

    def public(self, algorithm: str) -> dict[str, Any]:
        kid, key = self.private[algorithm]
        written = _WRITES[algorithm].to_jwk(key.public_key(), as_dict=True)
        return {key: value for key, value in written.items() if key != "key_ops"} | {
            "kid": kid, "alg": algorithm, "use": "sig",
        }  # fmt: skip

    def setting(self, **more: Any) -> dict[str, Any]:
        """Return an application's setting for this issuer."""
        return {
            "issuer": self.url,
            "audiences": [AUDIENCE],
            "algorithms": list(self.algorithms),
            "trusts_email": True,
            **more,
        }

    def claims(self, **more: Any) -> dict[str, Any]:
        """Return the claims of a valid token; claims that are None are left out."""
        now = int(time.time())
        usual = {"iss": self.url, "aud": AUDIENCE, "sub": new_id().hex, "iat": now, "exp": now + 600}
        claims = {**usual, "jti": new_id().hex, **more}
        return {name: value for name, value in claims.items() if value is not None}

    def token(self, algorithm: str = "", headers: dict[str, Any] | None = None, **claims: Any) -> str:
        """Issue an ID token."""
        algorithm = algorithm or self.algorithms[0]
        kid, key = self.private[algorithm]
        named = {name: value for name, value in {"kid": kid, **(headers or {})}.items() if value is not None}
        return jwt.encode(self.claims(**claims), key, algorithm, headers=named)

    def signed_as_hmac(self, **claims: Any) -> str:
        """Issue a token whose HMAC key is the public key."""
        kid, key = self.private["RS256"]
        secret = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        head = f"{encoded({'alg': 'HS256', 'typ': 'JWT', 'kid': kid})}.{encoded(self.claims(**claims))}"
        mac = hmac.HMAC(secret, hashes.SHA256())
        mac.update(head.encode())
        return f"{head}.{encoded(mac.finalize())}"

    def unsigned(self, **claims: Any) -> str:
        kid, _ = self.private[self.algorithms[0]]
        return f"{encoded({'alg': 'none', 'kid': kid})}.{encoded(self.claims(**claims))}."

    def document(self, path: str) -> Any:
        if path == DISCOVERY:
            return {"issuer": self.url, "jwks_uri": f"{self.url}{KEYS}"}
        return {"keys": self.published} if path == KEYS else None

    def start(self) -> None:
        """Listen on the same port as before."""
        self._server = _Server(("127.0.0.1", self.port), _handler(self))
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop the server."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @contextmanager
    def unavailable(self) -> Any:
        self.stop()
        try:
            yield
        finally:
            self.start()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *_: Any) -> None:
        """Ignore clients that have disconnected."""


def _handler(issuer: Issuer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            issuer.requests[self.path] += 1
            override = issuer.overrides.get(self.path)
            if callable(override):
                override(self)
                return
            status = override if isinstance(override, int) else 200
            body = override if isinstance(override, bytes) else json.dumps(issuer.document(self.path)).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Log nothing."""

    return Handler


@cache
def the_issuer() -> Issuer:
    """Return the issuer that every application of this process trusts."""
    return Issuer()
