"""Conversion of marshmallow's nested messages to a flat list of errors with JSON pointers."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from campshub.core.errors import FieldError
from campshub.core.http.schemas.fields import IN_FUTURE

MOST_ERRORS = 100
_CODES = {
    "Missing data for required field.": "required",
    "Unknown field.": "unknown",
    "Field may not be null.": "null",
    IN_FUTURE: "in_future",
}


def field_error_list(messages: Any) -> list[FieldError]:
    """Return at most ``MOST_ERRORS`` errors, so that a response is not much larger than the request."""
    return list(islice(field_errors(messages), MOST_ERRORS))


def step_to(name: Any) -> str:
    """Return a name as an escaped step of a JSON pointer (RFC 6901)."""
    return "/" + str(name).replace("~", "~0").replace("/", "~1")


def field_errors(messages: Any, pointer: str = "") -> Iterator[FieldError]:
    """Yield one error per message."""
    if isinstance(messages, dict):
        for name, inner in messages.items():
            yield from field_errors(inner, pointer if name == "_schema" else f"{pointer}{step_to(name)}")
        return
    for message in messages if isinstance(messages, list) else [messages]:
        if isinstance(message, dict):
            yield from field_errors(message, pointer)
        else:
            yield FieldError(pointer, _CODES.get(str(message), "invalid"), str(message))
