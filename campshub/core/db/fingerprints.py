"""Fingerprints of what a row was created from: the same body again is a retry, another one a conflict."""

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson


def fingerprint(values: Mapping[str, Any], *, key: bytes = b"") -> bytes:
    """Return 16 bytes that identify a parsed body with its defaults; a null is the same as a field left out.

    ``key`` is for bodies with what is sealed in the row: whoever reads the database, and so knows all the rest, could
    else try one guess after the other.
    """
    words = orjson.dumps(_without_nulls(values), default=str, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
    return hashlib.blake2b(words, key=key, digest_size=16).digest()


def _without_nulls(value: Any) -> Any:
    """Return a body without the fields that are null, nested ones included."""
    if isinstance(value, Mapping):
        return {name: _without_nulls(one) for name, one in value.items() if one is not None}
    if isinstance(value, list | tuple):
        return [_without_nulls(one) for one in value]
    return value
