"""Pages by cursor: each begins after the last row of the one before, so that pages neither overlap nor slow down.

A cursor is encrypted, since it holds values of a row, and bound to the organization, the address, the filters and the
order that it was made for.
"""

import hashlib
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import lru_cache
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Integer, Text, cast, literal, tuple_

from campshub.core.db.prepared import AnySelect, QueryArgument, placeholder
from campshub.core.db.session import Session
from campshub.core.errors import BadCursor
from campshub.core.security.crypto import CannotOpen, Cursors


@dataclass(frozen=True)
class Page:
    """Some rows of a list, and where to go on."""

    rows: Sequence[Any]
    next_cursor: str | None
    # Of a list that changes as a whole; a change of it can name the version that its author saw.
    version: int | None = None

    @property
    def has_more(self) -> bool:
        """Whether rows follow."""
        return self.next_cursor is not None


@dataclass(frozen=True)
class PageRequest(QueryArgument):
    """Which rows of a list are wanted, in which order, and which of their fields.

    It is an argument of prepared statements: the order and the fields belong to their shape, where the page begins and
    how long it is are values.
    """

    limit: Any
    sort: str
    descending: bool
    fields: frozenset[str] | None
    cursor: str | None
    bound_to: Mapping[str, Any]
    # None: a stand-in for all pages of a shape.
    cursors: Cursors | None

    def choose(self, columns: Sequence[Any]) -> Sequence[Any]:
        """Return those of the columns that the answer shows."""
        if self.fields is None:
            return columns
        return [column for column in columns if column.key in self.fields]

    def of(self, session: Session, statement: AnySelect, *, order: Sequence[Any]) -> Page:
        """Run a list's statement for this page.

        :raises BadCursor: the cursor was made for another list.
        """
        return self.read(session, self.ordered(statement, order=order))

    def ordered(self, statement: AnySelect, *, order: Sequence[Any]) -> AnySelect:
        """Give a list's statement its order, its beginning and its end.

        ``order`` names columns without NULLs, the last one unique; all of them go up, or down if so asked.
        """
        keys = [column.label(f"order_{number}") for number, column in enumerate(order)]
        if self.cursor is not None:
            statement = statement.where(*self._after(order))
        ordered = statement.order_by(*(c.desc() if self.descending else c.asc() for c in order))
        return ordered.add_columns(*keys).limit(self.limit + 1)

    def read(self, session: Session, statement: AnySelect) -> Page:
        """Run an ordered statement and cut the page from its rows.

        :raises BadCursor: the cursor was made for another list.
        """
        rows: list[Any] = list(session.execute(statement))
        if len(rows) <= self.limit:
            return Page(rows=rows, next_cursor=None)
        del rows[self.limit :]
        return Page(rows=rows, next_cursor=self._seal(rows[-1][_first_key(rows[-1]._fields) :]))

    def shape(self) -> Hashable:
        """Return what a statement of this page depends on."""
        return self.sort, self.descending, self.fields, self.cursor is None

    def placeholder(self) -> "PageRequest":
        """Return what stands for all pages of this shape."""
        limit = placeholder("page_limit", Integer())
        return replace(self, limit=limit, bound_to={}, cursors=None)

    def values(self) -> dict[str, Any]:
        """Return what the stand-in leaves open.

        :raises BadCursor: the cursor was made for another list.
        """
        values: dict[str, Any] = {"page_limit": self.limit}
        if self.cursor is not None:
            values.update((f"page_after_{number}", text) for number, text in enumerate(self._read()))
        return values

    def _after(self, order: Sequence[Any]) -> list[ColumnElement[bool]]:
        if self.cursors is None:
            values = [placeholder(f"page_after_{number}", c.type) for number, c in enumerate(order)]
        else:
            texts = self._read()
            if len(texts) != len(order):
                raise BadCursor
            values = [cast(literal(text, Text()), c.type) for c, text in zip(order, texts, strict=True)]
        first, bound = order[0], values[0]
        # The first column's own bound lets the planner leave out partitions; it does not look into the row comparison.
        if self.descending:
            return [first <= bound, tuple_(*order) < tuple_(*values)]
        return [first >= bound, tuple_(*order) > tuple_(*values)]

    def _binding(self) -> bytes:
        """Return what the cursor must have been made for, in short."""
        order = f"-{self.sort}" if self.descending else self.sort
        words = orjson.dumps([self.bound_to, order], default=str, option=orjson.OPT_SORT_KEYS)
        return hashlib.blake2b(words, digest_size=16).digest()

    def _seal(self, values: Sequence[Any]) -> str:
        if self.cursors is None:
            raise RuntimeError("a stand-in has no rows")
        texts = [v.isoformat() if isinstance(v, date) else str(v) for v in values]
        return self.cursors.seal(orjson.dumps(texts), bound_to=self._binding())

    def _read(self) -> list[str]:
        """Return the values of the row that the cursor names, as texts."""
        if self.cursors is None or self.cursor is None:
            raise BadCursor
        try:
            texts: list[str] = orjson.loads(self.cursors.open(self.cursor, bound_to=self._binding()))
        except CannotOpen as error:
            raise BadCursor from error
        return texts


@lru_cache(maxsize=512)
def _first_key(names: tuple[str, ...]) -> int:
    """Return where the values begin by which a page is ordered: they are its last ones."""
    return len(names) - 1 - names[::-1].index("order_0")


def page_request(
    *,
    limit: int,
    sort: str,
    cursor: str | None,
    only: frozenset[str] | None,
    bound_to: Mapping[str, Any],
    cursors: Cursors,
) -> PageRequest:
    """Make the request of one page, bound to what the cursor must have been made for."""
    return PageRequest(
        limit=limit,
        sort=sort.removeprefix("-"),
        descending=sort.startswith("-"),
        fields=only,
        cursor=cursor,
        bound_to=bound_to,
        cursors=cursors,
    )
