"""The query parameters of every list: limit, cursor, sort and fields."""

from collections.abc import Mapping, Sequence
from typing import Any

from marshmallow import ValidationError

from campshub.core.http.decorators import RELEVANCE
from campshub.core.http.schemas import fields

LIMIT = 50
MOST = 200
# A cursor contains the sort values of the last row: at most ``SORTED_LETTERS`` characters of a name, and two ids.
LONGEST_CURSOR = 1_000

_SPARSE = (
    "A comma-separated list of properties. The items then contain only these, and lack others that the schema requires."
    " Without `fields`, they contain all."
)


def _of_sort(sorts: Sequence[str]) -> dict[str, str]:
    """Return the metadata of ``sort``; without a default if a search changes it."""
    text = "The order; `-` before a name reverses it."
    if RELEVANCE in sorts:
        return {"description": f"{text} Default: `{sorts[0]}`, and `{RELEVANCE}` with `q`."}
    return {"description": text, "default": sorts[0]}


def page_fields(sorts: Sequence[str], attributes: Mapping[str, str]) -> dict[str, Any]:
    """Return the parameters that every list takes in addition to its own filters.

    :param sorts: the names of the orders; the first one is the default and may be descending (``-date``).
    :param attributes: the attribute of each field of the response.
    """
    choices = [direction + name.removeprefix("-") for name in sorts for direction in ("", "-")]
    return {
        "limit": fields.Integer(
            least=1,
            most=MOST,
            in_query=True,
            load_default=LIMIT,
            metadata={"description": "The maximum number of rows in the page."},
        ),
        "cursor": fields.Text(
            most=LONGEST_CURSOR,
            load_default=None,
            metadata={"description": "`next_cursor` of the previous page."},
        ),
        "sort": fields.Text(
            one_of=choices,
            # Empty text means the default order; the type ``str`` creates it, because "" would be in the document.
            load_default=sorts[0] if sorts[0].startswith("-") else str,
            metadata=_of_sort(sorts),
        ),
        "fields": FieldNames(
            attributes,
            load_default=None,
            metadata={"description": f"{_SPARSE} The names: {', '.join(attributes)}."},
        ),
    }


class FieldNames(fields.Text):
    """Names of fields, separated by commas; it loads as the set of their attributes."""

    def __init__(self, attributes: Mapping[str, str], **options: Any) -> None:
        super().__init__(most=1_000, **options)
        self._attributes = attributes

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **options: Any) -> Any:
        names = frozenset(super()._deserialize(value, attr, data, **options).split(","))
        unknown = names - self._attributes.keys()
        if unknown:
            raise ValidationError(f"No such field: {', '.join(sorted(unknown))}.")
        return frozenset(self._attributes[name] for name in names)
