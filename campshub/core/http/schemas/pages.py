"""The query parameters of every list: limit, cursor, sort and fields."""

from collections.abc import Mapping, Sequence
from typing import Any

from marshmallow import ValidationError

from campshub.core.http.decorators import RELEVANCE
from campshub.core.http.schemas import fields

LIMIT = 50
MOST = 200
LONGEST_CURSOR = 1_000  # it holds what the last row is ordered by: at most `SORTED_LETTERS` of a name and two ids

_SPARSE = (
    "Only these properties of each item, with commas between. The items then lack the others, even those that the"
    " schema requires; without `fields` all of them are there."
)


def _of_sort(sorts: Sequence[str]) -> dict[str, str]:
    """Describe the order of a list; where a search changes the usual one, there is no default to state."""
    text = "The order; `-` before a name reverses it."
    if RELEVANCE in sorts:
        return {"description": f"{text} Default: `{sorts[0]}`, and `{RELEVANCE}` with `q`."}
    return {"description": text, "default": sorts[0]}


def page_fields(sorts: Sequence[str], shown: Mapping[str, str]) -> dict[str, Any]:
    """Return the parameters that every list takes, beside its own filters.

    ``shown`` names the fields and the attributes that they show. The first of ``sorts`` is the usual order; it may go
    down (``-date``).
    """
    choices = [way + name.removeprefix("-") for name in sorts for way in ("", "-")]
    return {
        "limit": fields.Whole(
            least=1,
            most=MOST,
            in_query=True,
            load_default=LIMIT,
            metadata={"description": "Rows in a page."},
        ),
        "cursor": fields.Text(
            most=LONGEST_CURSOR,
            load_default=None,
            metadata={"description": "`next_cursor` of the page before."},
        ),
        "sort": fields.Text(
            one_of=choices,
            # None: the usual order; a plain "" would stand in the document.
            load_default=sorts[0] if sorts[0].startswith("-") else str,
            metadata=_of_sort(sorts),
        ),
        "fields": FieldNames(
            shown,
            load_default=None,
            metadata={"description": f"{_SPARSE} The names: {', '.join(shown)}."},
        ),
    }


class FieldNames(fields.Text):
    """Names of fields with commas between them; it loads as the attributes that they show."""

    def __init__(self, shown: Mapping[str, str], **options: Any) -> None:
        super().__init__(most=1_000, **options)
        self._shown = shown

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **options: Any) -> Any:
        wanted = frozenset(super()._deserialize(value, attr, data, **options).split(","))
        unknown = wanted - self._shown.keys()
        if unknown:
            raise ValidationError(f"No such field: {', '.join(sorted(unknown))}.")
        return frozenset(self._shown[name] for name in wanted)
