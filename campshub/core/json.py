"""JSON for responses and commands, with the same options everywhere."""

from collections.abc import Iterable
from typing import Any

import orjson

_OPTIONS = orjson.OPT_UTC_Z | orjson.OPT_NAIVE_UTC


def write(value: Any) -> bytes:
    """Serialize plain values as JSON; instants are in UTC with a ``Z``."""
    return orjson.dumps(value, default=_other, option=_OPTIONS)


def _other(value: Any) -> Any:
    if isinstance(value, Iterable):
        return list(value)
    raise TypeError(f"no JSON for {type(value).__name__}")
