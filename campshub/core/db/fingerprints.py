"""Fingerprints of the body that a row was created from: the same body again is a retry, another one a conflict."""

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson


def fingerprint(values: Mapping[str, Any], *, key: bytes = b"") -> bytes:
    """Return 16 bytes that identify a parsed body with its defaults; null is the same as a missing field.

    Use ``key`` for bodies with values that the row stores encrypted: otherwise a reader of the database, who knows all
    other values, could find the encrypted one by guessing.
    """
    body = orjson.dumps(_without_nulls(values), default=str, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
    return hashlib.blake2b(body, key=key, digest_size=16).digest()


def _without_nulls(value: Any) -> Any:
    """Return a body without null fields, also in nested objects."""
    if isinstance(value, Mapping):
        return {name: _without_nulls(one) for name, one in value.items() if one is not None}
    if isinstance(value, list | tuple):
        return [_without_nulls(one) for one in value]
    return value
