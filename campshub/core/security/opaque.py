"""Opaque tokens (refresh, invitation, reset): they name a row, authenticated by the server's key; they are not JWTs.

So a forged token is refused without a database query. A genuine token may still be invalid: it may have expired, or
been used or revoked. That is decided by its row in the database, which stores only the token's hash.
"""

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass
from uuid import UUID

MAC_BYTES = 32
ID_BYTES = 16
SECRET_BYTES = 32


class UnknownToken(Exception):
    """This server has not issued the token, or has issued it as another kind of token."""


@dataclass(frozen=True)
class TokenIds:
    """The row that a token names, and its organization."""

    organization_id: UUID
    id: UUID


class OpaqueTokens:
    """Writes and reads opaque tokens, and derives the successor of a refresh token."""

    def __init__(self, secret: str) -> None:
        self._key = hmac.digest(secret.encode(), b"opaque tokens", "sha256")

    def write(self, kind: str, organization_id: UUID, id_: UUID, secret: bytes = b"") -> str:
        """Return the token of a kind (its prefix: ``chr``, ``chi``, ...) that names a row; it is deterministic."""
        payload = organization_id.bytes + id_.bytes + secret
        mac = hmac.digest(self._key, kind.encode() + payload, "sha256")
        return f"{kind}_{base64.urlsafe_b64encode(payload + mac).rstrip(b'=').decode()}"

    def read(self, kind: str, token: str) -> TokenIds:
        """Return the row that a genuine token names.

        :raises UnknownToken: it is not of this kind, or was not issued by this server.
        """
        found, _, encoded = token.partition("_")
        try:
            raw = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError) as error:
            raise UnknownToken from error
        payload, mac = raw[:-MAC_BYTES], raw[-MAC_BYTES:]
        genuine = hmac.compare_digest(mac, hmac.digest(self._key, kind.encode() + payload, "sha256"))
        if found != kind or len(payload) < 2 * ID_BYTES or not genuine:
            raise UnknownToken
        return TokenIds(UUID(bytes=payload[:ID_BYTES]), UUID(bytes=payload[ID_BYTES : 2 * ID_BYTES]))

    def successor(self, kind: str, token: str) -> str:
        """Return the successor of a token; it is deterministic, so that a repeated refresh returns the same one."""
        named = self.read(kind, token)
        secret = hmac.digest(self._key, b"successor" + token.encode(), "sha256")
        return self.write(kind, named.organization_id, named.id, secret)

    def keyed(self, purpose: str, value: str) -> bytes:
        """Return a keyed hash of a value that must not be stored in plaintext."""
        return hmac.digest(self._key, f"{purpose}:{value}".encode(), "sha256")


def hash_of(token: str) -> bytes:
    """Return the hash of a token, which is stored instead of it."""
    return hashlib.sha256(token.encode()).digest()
