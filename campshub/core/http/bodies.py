"""Reading JSON bodies: strictly, and a key twice is refused (RFC 8259 leaves open which of the two counts)."""

import json
from typing import Any

import orjson

from campshub.core.errors import MalformedBody


def read_json(raw: bytes) -> Any:
    """Return what a body says.

    :raises MalformedBody: it is not JSON, or an object in it has a key twice.
    """
    try:
        given = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise MalformedBody(f"The body is not readable JSON: {error.msg} at {error.pos}.") from error
    if isinstance(given, dict | list) and not _has_each_colon(raw, given):
        _require_keys_once(raw)
    return given


def _has_each_colon(raw: bytes, given: Any) -> bool:
    """Return True where certainly no key of a body was dropped, at little cost.

    Written again, a value has a colon for each key, and those in texts. ``orjson`` keeps the last of two equal keys, so
    the body then has at least one colon more. Only an escaped colon could hide that: such a body is read twice.
    """
    if b"\\u003" in raw:
        return False
    try:
        return raw.count(b":") == orjson.dumps(given).count(b":")
    except orjson.JSONEncodeError:  # nested deeper than it writes
        return False


def _require_keys_once(raw: bytes) -> None:
    """Read a body again, more slowly, with a look at each key.

    :raises MalformedBody: an object has a key twice.
    """
    try:
        json.loads(raw, object_pairs_hook=_once)
    except RecursionError as error:
        raise MalformedBody("The body is nested too deeply.") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise MalformedBody(f"An object of the body has the key {json.dumps(twice[:64])} twice.")
    return found
