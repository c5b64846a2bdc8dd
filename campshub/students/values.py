"""Values of custom fields: what each type accepts."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from campshub.core import names

MOST_FIELDS = 100
MOST_TEXT = 1_000
MOST_NUMBER = 1e15
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_NUMBER = re.compile(r"-?[0-9]{1,16}(\.[0-9]{1,9})?")


class Unreadable(ValueError):
    """The value is not one of the field's type."""


@dataclass(frozen=True)
class Definition:
    """What a custom field accepts, and who sees it."""

    key: str
    type: str
    is_required: bool
    choices: Sequence[str]
    visible_to: Sequence[str]


def checked_value(definition: Definition, value: Any) -> Any:
    """Return a value as it is stored; None if it is empty.

    :raises Unreadable: it is not one of the field's type.
    """
    return _CHECKS[definition.type](definition, value)


def value_of_text(definition: Definition, text: str) -> Any:
    """Return the value that a filter's text means; one choice of several is a list of one.

    :raises Unreadable: it is not one of the field's type.
    """
    value: Any = text
    if definition.type == "number":
        if not _NUMBER.fullmatch(text):
            raise Unreadable("Must be a number, such as 7 or 7.5.")
        value = float(text) if "." in text else int(text)
    elif definition.type == "boolean":
        value = {"true": True, "false": False}.get(text, text)
    elif definition.type == "multiple_choice":
        value = [text]
    return checked_value(definition, value)


def _text(_definition: Definition, value: Any) -> str | None:
    if not isinstance(value, str):
        raise Unreadable("Must be a text.")
    if len(value) > MOST_TEXT:
        raise Unreadable(f"Longer than maximum length {MOST_TEXT}.")
    if "\x00" in value:
        raise Unreadable("Must not contain NUL characters.")
    return names.trimmed(value) if names.is_visible(value) else None


def _number(_definition: Definition, value: Any) -> float | int:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise Unreadable("Must be a number, without quotes.")
    if abs(value) > MOST_NUMBER:
        raise Unreadable(f"Must be from -{MOST_NUMBER:.0f} to {MOST_NUMBER:.0f}.")
    return value


def _date(_definition: Definition, value: Any) -> str:
    if not isinstance(value, str) or not _DATE.fullmatch(value):
        raise Unreadable("Must be a date of the calendar, written YYYY-MM-DD.")
    try:
        return date.fromisoformat(value).isoformat()
    except ValueError as error:
        raise Unreadable("Must be a date of the calendar, written YYYY-MM-DD.") from error


def _boolean(_definition: Definition, value: Any) -> bool:
    if not isinstance(value, bool):
        raise Unreadable("Must be true or false, without quotes in a body.")
    return value


def _choice(definition: Definition, value: Any) -> str:
    if not isinstance(value, str) or value not in definition.choices:
        raise Unreadable(f"Must be one of: {', '.join(definition.choices)}.")
    return value


def _choices(definition: Definition, value: Any) -> list[str] | None:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise Unreadable("Must be a list of choices.")
    for one in value:
        _choice(definition, one)
    # In the order of the definition, so that the same choices are the same value.
    return [choice for choice in definition.choices if choice in value] or None


_CHECKS: Mapping[str, Callable[[Definition, Any], Any]] = {
    "text": _text,
    "number": _number,
    "date": _date,
    "boolean": _boolean,
    "choice": _choice,
    "multiple_choice": _choices,
}
