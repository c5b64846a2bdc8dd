"""JSON of responses and commands: one set of options for every writer."""

from collections.abc import Iterable
from typing import Any

import orjson

_OPTIONS = orjson.OPT_UTC_Z | orjson.OPT_NAIVE_UTC


def write(value: Any) -> bytes:
    """Write plain values as JSON; instants in UTC with a Z."""
    return orjson.dumps(value, default=_other, option=_OPTIONS)


def _other(value: Any) -> Any:
    if isinstance(value, Iterable):
        return list(value)
    raise TypeError(f"no JSON for {type(value).__name__}")
