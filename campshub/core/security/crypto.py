"""Encryption with AES-256-GCM under a ring of keys; each value contains its key's id and is bound to its location.

A sealed (encrypted) value is ``<key id>.<base64url of nonce and ciphertext>``. Its context (organization, table,
column, row) is authenticated with it, so a value copied to another row does not decrypt.
"""

import base64
import binascii
import hmac
import os
from collections.abc import Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV

NONCE_BYTES = 12
PERSON_KEY_BITS = 256


class DecryptionFailed(Exception):
    """The value was encrypted with another key or for another location, or has been changed."""


class KeyRing:
    """Keys by id; the first one encrypts, all of them decrypt."""

    def __init__(self, keys: dict[str, bytes]) -> None:
        self._keys = {name: AESGCM(key) for name, key in keys.items()}
        self.current = next(iter(keys))

    def seal(self, plain: bytes, *, context: str) -> str:
        """Encrypt a value for one location."""
        nonce = os.urandom(NONCE_BYTES)
        sealed = nonce + self._keys[self.current].encrypt(nonce, plain, context.encode())
        return f"{self.current}.{base64.urlsafe_b64encode(sealed).decode()}"

    def open(self, sealed: str, *, context: str) -> bytes:
        """Decrypt a value of this location.

        :raises DecryptionFailed: its key is missing, or it belongs to another location.
        """
        name, _, encoded = sealed.partition(".")
        try:
            raw = base64.urlsafe_b64decode(encoded)
            return self._keys[name].decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], context.encode())
        except (KeyError, ValueError, InvalidTag) as error:
            raise DecryptionFailed from error


class Cursors:
    """Encrypts and authenticates the cursors of lists: AES-256-SIV (RFC 5297) under keys derived from a ring.

    It needs no nonce, so equal pages are equal bytes: the ETag of a list does not depend on the process or the time of
    rendering. The first key encrypts, all of them decrypt.
    """

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        self._ciphers = [AESSIV(hmac.digest(key, b"cursors", "sha512")) for key in keys.values()]

    def seal(self, plain: bytes, *, bound_to: bytes) -> str:
        """Encrypt the content of a cursor, for one list."""
        return _unpadded(self._ciphers[0].encrypt(plain, [bound_to]))

    def open(self, cursor: str, *, bound_to: bytes) -> bytes:
        """Return the content of a cursor of this list.

        :raises DecryptionFailed: it belongs to another list, or was not encrypted with these keys.
        """
        try:
            sealed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError) as error:
            raise DecryptionFailed from error
        if _unpadded(sealed) != cursor:  # another base64 text of the same bytes
            raise DecryptionFailed
        for cipher in self._ciphers:
            try:
                return cipher.decrypt(sealed, [bound_to])
            except InvalidTag:
                continue
        raise DecryptionFailed


def _unpadded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def new_person_key() -> bytes:
    """Return a key for one person's values; destroying it makes all of them unreadable."""
    return AESGCM.generate_key(PERSON_KEY_BITS)


def person_ring(key: bytes) -> KeyRing:
    """Return the ring that encrypts one person's values."""
    return KeyRing({"p": key})
