"""Pages by cursor: each begins after the last row of the one before, so that pages neither overlap nor slow down.

A cursor is signed, and bound to the organization, the address, the filters and the order that it was made for.
"""

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import orjson
from itsdangerous import BadData, URLSafeSerializer
from marshmallow import ValidationError
from sqlalchemy import ColumnElement, Select, tuple_

from campshub.core.db.session import Session
from campshub.core.http import fields
from campshub.core.http.problems import BadCursor

LIMIT = 50
MOST = 200


@dataclass(frozen=True)
class Page:
    """Some rows of a list, and where to go on."""

    rows: Sequence[Any]
    next_cursor: str | None

    @property
    def has_more(self) -> bool:
        """Whether rows follow."""
        return self.next_cursor is not None


@dataclass(frozen=True)
class PageRequest:
    """Which rows of a list are wanted, in which order, and which of their fields."""

    limit: int
    sort: str
    descending: bool
    fields: frozenset[str] | None
    cursor: str | None
    binding: bytes
    signer: URLSafeSerializer

    def choose(self, columns: Sequence[Any]) -> Sequence[Any]:
        """Return those of the columns that the answer shows."""
        if self.fields is None:
            return columns
        return [column for column in columns if column.key in self.fields]

    def of(self, session: Session, statement: Select[Any], *, order: Sequence[Any]) -> Page:
        """Run a list's statement for this page.

        ``order`` names columns without NULLs, the last one unique; all of them go up, or down if so asked.

        :raises BadCursor: the cursor was made for another list.
        """
        keys = [column.label(f"order_{number}") for number, column in enumerate(order)]
        if self.cursor is not None:
            statement = statement.where(*self._after(order))
        ordered = statement.order_by(*(c.desc() if self.descending else c.asc() for c in order))
        rows = session.execute(ordered.add_columns(*keys).limit(self.limit + 1)).all()
        more = len(rows) > self.limit
        rows = rows[: self.limit]
        cursor = self._sign(rows[-1][-len(keys) :]) if more else None
        return Page(rows=rows, next_cursor=cursor)

    def _after(self, order: Sequence[Any]) -> list[ColumnElement[bool]]:
        values = self._read(order)
        first, bound = order[0], values[0]
        # The first column's own bound lets the planner leave out partitions; it does not look into the row comparison.
        if self.descending:
            return [first <= bound, tuple_(*order) < tuple_(*values)]
        return [first >= bound, tuple_(*order) > tuple_(*values)]

    def _sign(self, values: Sequence[Any]) -> str:
        text: str | bytes = self.signer.dumps(
            [self.binding.hex(), *(v.isoformat() if isinstance(v, date) else str(v) for v in values)]
        )
        return text if isinstance(text, str) else text.decode()

    def _read(self, order: Sequence[Any]) -> list[Any]:
        try:
            binding, *values = self.signer.loads(self.cursor or "")
            if binding != self.binding.hex() or len(values) != len(order):
                raise BadCursor
            return [_value(column.type.python_type, value) for column, value in zip(order, values, strict=True)]
        except (BadData, ValueError, TypeError) as error:
            raise BadCursor from error


def _value(kind: type, text: str) -> Any:
    if kind in (date, datetime):
        return kind.fromisoformat(text)
    if kind is uuid.UUID:
        return uuid.UUID(text)
    return kind(text)


def page_request(
    *, limit: int, sort: str, cursor: str | None, only: frozenset[str] | None, bound_to: Mapping[str, Any], secret: str
) -> PageRequest:
    """Make the request of one page, bound to what the cursor must have been made for."""
    words = orjson.dumps({**bound_to, "sort": sort}, default=str, option=orjson.OPT_SORT_KEYS)
    return PageRequest(
        limit=limit,
        sort=sort.removeprefix("-"),
        descending=sort.startswith("-"),
        fields=only,
        cursor=cursor,
        binding=hashlib.sha256(words).digest()[:16],
        signer=URLSafeSerializer(secret, salt="cursor", signer_kwargs={"digest_method": hashlib.sha256}),
    )


def page_fields(sorts: Sequence[str], shown: Mapping[str, str]) -> dict[str, Any]:
    """Return the parameters that every list takes, beside its own filters.

    ``shown`` names the fields and the attributes that they show.
    """
    choices = [way + name for name in sorts for way in ("", "-")]
    return {
        "limit": fields.Whole(
            least=1,
            most=MOST,
            in_query=True,
            load_default=LIMIT,
            metadata={"description": "Rows in a page."},
        ),
        "cursor": fields.Text(
            most=8_000,
            load_default=None,
            metadata={"description": "`next_cursor` of the page before."},
        ),
        "sort": fields.Text(
            one_of=choices,
            load_default=str,  # none: the usual order; a plain "" would stand in the document
            metadata={"description": "The order; `-` before a name turns it round."},
        ),
        "fields": FieldNames(
            shown,
            load_default=None,
            metadata={"description": f"Only these fields, with commas between: {', '.join(shown)}."},
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
