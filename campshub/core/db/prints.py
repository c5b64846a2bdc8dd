"""Fingerprints of what a row was created from: the same body again is a retry, another one a conflict."""

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson


def fingerprint(values: Mapping[str, Any]) -> bytes:
    """Return 16 bytes that tell one parsed body from another."""
    words = orjson.dumps(values, default=str, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
    return hashlib.sha256(words).digest()[:16]
