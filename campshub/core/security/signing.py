"""Signatures for data in untrusted storage: HMAC-SHA256 under a ring of keys, with the key's id in the signature.

A signature is ``<key id>.<base64url of the MAC>``. The signing keys are derived from those of the ring for one use, so
a signature is not valid for another use, and the ring may encrypt with the same keys.
"""

import base64
import hmac
from collections.abc import Mapping


class SigningKeys:
    """Keys by id; the first one signs, all of them verify."""

    def __init__(self, keys: Mapping[str, bytes], *, use: str) -> None:
        self._keys = {name: hmac.digest(key, use.encode(), "sha256") for name, key in keys.items()}
        self._current = next(iter(keys))

    def sign(self, content: bytes) -> str:
        """Return the signature of some content."""
        return self._signature(self._current, content)

    def verify(self, signature: str, content: bytes) -> bool:
        """Return whether a signature was made with one of these keys, over exactly this content."""
        name = signature.partition(".")[0]
        if name not in self._keys:
            return False
        return hmac.compare_digest(signature.encode(), self._signature(name, content).encode())

    def _signature(self, name: str, content: bytes) -> str:
        mac = hmac.digest(self._keys[name], content, "sha256")
        return f"{name}.{base64.urlsafe_b64encode(mac).decode()}"
