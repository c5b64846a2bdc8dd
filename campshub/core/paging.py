"""Keyset pagination: each page starts after the last row of the previous one, so pages do not overlap or slow down.

A cursor is encrypted, because it contains values of a row. It is bound to the organization, the URL path, the filters
and the order for which it was created.
"""

import hashlib
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import lru_cache
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Integer, Text, cast, literal, tuple_

from campshub.core.db.prepared import AnySelect, Executable, QueryArgument, placeholder
from campshub.core.db.session import Session
from campshub.core.errors import BadCursor
from campshub.core.security.crypto import Cursors, DecryptionFailed


@dataclass(frozen=True)
class Page:
    """One page of a list, and the cursor of the next page."""

    rows: Sequence[Any]
    next_cursor: str | None
    # Only for a list that is changed as a whole: the client sends it back in If-Match.
    version: int | None = None

    @property
    def has_more(self) -> bool:
        """Whether more rows follow."""
        return self.next_cursor is not None


@dataclass(frozen=True)
class PageRequest(QueryArgument):
    """The requested page: which rows of a list, in which order, with which fields.

    It is an argument of prepared statements. The order and the fields are part of the statement's shape; the limit and
    the values of the cursor are bind parameters.
    """

    limit: Any  # a number, or a bind parameter in a placeholder
    sort: str
    descending: bool
    fields: frozenset[str] | None
    cursor: str | None
    bound_to: Mapping[str, Any]
    # The encryption of cursors; None: this is a placeholder for all pages of one shape.
    cursors: Cursors | None

    def choose(self, columns: Sequence[Any]) -> Sequence[Any]:
        """Return the columns that the response contains."""
        if self.fields is None:
            return columns
        return [column for column in columns if column.key in self.fields]

    def of(self, session: Session, statement: AnySelect, *, order: Sequence[Any]) -> Page:
        """Run the statement of a list for this page.

        :raises BadCursor: the cursor was made for another list.
        """
        return self.read(session, self.ordered(statement, order=order))

    def ordered(self, statement: AnySelect, *, order: Sequence[Any]) -> AnySelect:
        """Add the order, the start after the cursor and the limit to the statement of a list.

        ``order`` has columns without NULLs, of which the last one is unique. All are ascending, or all descending.
        """
        keys = [column.label(f"order_{number}") for number, column in enumerate(order)]
        if self.cursor is not None:
            statement = statement.where(*self._after(order))
        ordered = statement.order_by(*(c.desc() if self.descending else c.asc() for c in order))
        # One row more than the page has: it shows whether another page follows.
        return ordered.add_columns(*keys).limit(self.limit + 1)

    def read(self, session: Session, statement: Executable) -> Page:
        """Run an ordered statement and return its rows as a page.

        :raises BadCursor: the cursor was made for another list.
        """
        rows: list[Any] = list(session.execute(statement))
        if len(rows) <= self.limit:
            return Page(rows=rows, next_cursor=None)
        del rows[self.limit :]
        return Page(rows=rows, next_cursor=self._encrypt(rows[-1][_first_sort_value(rows[-1]._fields) :]))

    def shape(self) -> Hashable:
        """Return the part of the page on which the SQL text depends."""
        return self.sort, self.descending, self.fields, self.cursor is None

    def placeholder(self) -> "PageRequest":
        """Return the placeholder for all pages of this shape."""
        limit = placeholder("page_limit", Integer())
        return replace(self, limit=limit, bound_to={}, cursors=None)

    def values(self) -> dict[str, Any]:
        """Return the values of the bind parameters of the placeholder.

        :raises BadCursor: the cursor was made for another list.
        """
        values: dict[str, Any] = {"page_limit": self.limit}
        if self.cursor is not None:
            values.update((f"page_after_{number}", text) for number, text in enumerate(self._cursor_values()))
        return values

    def _after(self, order: Sequence[Any]) -> list[ColumnElement[bool]]:
        if self.cursors is None:
            values = [placeholder(f"page_after_{number}", c.type) for number, c in enumerate(order)]
        else:
            texts = self._cursor_values()
            if len(texts) != len(order):
                raise BadCursor
            values = [cast(literal(text, Text()), c.type) for c, text in zip(order, texts, strict=True)]
        first, bound = order[0], values[0]
        # The second condition implies the first one, which is for the planner: it cannot prune partitions by a row
        # comparison.
        if self.descending:
            return [first <= bound, tuple_(*order) < tuple_(*values)]
        return [first >= bound, tuple_(*order) > tuple_(*values)]

    def _binding(self) -> bytes:
        """Return a digest of everything to which a cursor is bound."""
        order = f"-{self.sort}" if self.descending else self.sort
        content = orjson.dumps([self.bound_to, order], default=str, option=orjson.OPT_SORT_KEYS)
        return hashlib.blake2b(content, digest_size=16).digest()

    def _encrypt(self, values: Sequence[Any]) -> str:
        if self.cursors is None:
            raise RuntimeError("a placeholder has no rows")
        texts = [v.isoformat() if isinstance(v, date) else str(v) for v in values]
        return self.cursors.seal(orjson.dumps(texts), bound_to=self._binding())

    def _cursor_values(self) -> list[str]:
        """Decrypt the cursor; return the sort values of the row after which the page starts, as texts."""
        if self.cursors is None or self.cursor is None:
            raise BadCursor
        try:
            texts: list[str] = orjson.loads(self.cursors.open(self.cursor, bound_to=self._binding()))
        except DecryptionFailed as error:
            raise BadCursor from error
        return texts


@lru_cache(maxsize=512)
def _first_sort_value(names: tuple[str, ...]) -> int:
    """Return the index of a row's first sort value; ``ordered`` adds these values after the columns of the list."""
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
    """Create a page request that accepts only cursors with the same binding."""
    return PageRequest(
        limit=limit,
        sort=sort.removeprefix("-"),
        descending=sort.startswith("-"),
        fields=only,
        cursor=cursor,
        bound_to=bound_to,
        cursors=cursors,
    )
