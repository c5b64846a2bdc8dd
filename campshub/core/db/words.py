"""The condition that a text contains some words."""

from typing import Any

from sqlalchemy import ARRAY, ColumnElement, Text, all_, func


def has_words(column: Any, patterns: Any) -> ColumnElement[bool]:
    """Return the condition that a text fits each of the patterns, which have blanks between (``names.patterns``)."""
    found: ColumnElement[bool] = column.like(all_(func.string_to_array(patterns, " ", type_=ARRAY(Text))))
    return found
