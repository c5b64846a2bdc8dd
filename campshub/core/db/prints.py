"""Fingerprints of what a row was created from: the same body again is a retry, another one a conflict."""

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson


def fingerprint(values: Mapping[str, Any], *, key: bytes = b"") -> bytes:
    """Return 16 bytes that tell one parsed body from another.

    ``key`` is for bodies with what is sealed in the row: whoever reads the database, and so knows all the rest, could
    else try one guess after the other.
    """
    words = orjson.dumps(values, default=str, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
    return hashlib.blake2b(words, key=key, digest_size=16).digest()
