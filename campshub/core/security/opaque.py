"""Opaque tokens: refresh, invitation, reset. What they name is authenticated by the server's key; they are no JWTs.

A token that the server has not made costs no question to the database. One that it has made says nothing about whether
it still holds: that stands in the row that it names, under the token's hash.
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


class NotOurs(Exception):
    """The server has not made this token, or not for this use."""


@dataclass(frozen=True)
class Named:
    """What a token names: a row, and the organization that it belongs to."""

    organization_id: UUID
    id: UUID


class Opaque:
    """Writes and reads opaque tokens, and derives what follows from one."""

    def __init__(self, secret: str) -> None:
        self._key = hmac.digest(secret.encode(), b"opaque tokens", "sha256")

    def write(self, kind: str, organization_id: UUID, id_: UUID, secret: bytes = b"") -> str:
        """Return the token of a kind (``chr``, ``chi``, ...) that names a row; the same one each time."""
        payload = organization_id.bytes + id_.bytes + secret
        mac = hmac.digest(self._key, kind.encode() + payload, "sha256")
        return f"{kind}_{base64.urlsafe_b64encode(payload + mac).rstrip(b'=').decode()}"

    def read(self, kind: str, token: str) -> Named:
        """Return what a token of ours names.

        :raises NotOurs: it is not of this kind, or not of our making.
        """
        found, _, encoded = token.partition("_")
        try:
            raw = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError) as error:
            raise NotOurs from error
        payload, mac = raw[:-MAC_BYTES], raw[-MAC_BYTES:]
        genuine = hmac.compare_digest(mac, hmac.digest(self._key, kind.encode() + payload, "sha256"))
        if found != kind or len(payload) < 2 * ID_BYTES or not genuine:
            raise NotOurs
        return Named(UUID(bytes=payload[:ID_BYTES]), UUID(bytes=payload[ID_BYTES : 2 * ID_BYTES]))

    def successor(self, kind: str, token: str) -> str:
        """Return the one token that follows from another: whoever asks, and however often, it is the same."""
        named = self.read(kind, token)
        secret = hmac.digest(self._key, b"successor" + token.encode(), "sha256")
        return self.write(kind, named.organization_id, named.id, secret)

    def keyed(self, purpose: str, words: str) -> bytes:
        """Return what stands for words that must not be readable where it is kept."""
        return hmac.digest(self._key, f"{purpose}:{words}".encode(), "sha256")


def hash_of(token: str) -> bytes:
    """Return what is kept of a token."""
    return hashlib.sha256(token.encode()).digest()
