"""Rollups: figures that are asked often, kept beside the rows that they are counted from, and never older than these.

A statement that changes rows notes, in its own transaction and by a trigger of the database, which keys of a rollup no
longer hold: rows of a *stale* table that nobody else writes to or waits for. A read takes the kept figures of all other
keys, and counts those of the stale ones itself, in one statement (``current``); so it is exact at any moment. Every
minute the stale keys are counted anew and their notes removed (``folding``).

A module describes a rollup with the select that counts it. Reads, folding, rebuilding and checking all use that one.
"""

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Date,
    DateTime,
    Identity,
    Subquery,
    Table,
    and_,
    cast,
    exists,
    func,
    literal_column,
    select,
    union_all,
)
from sqlalchemy.orm import Mapped, mapped_column

from campshub.core.db.models import Base
from campshub.core.db.prepared import AnySelect

Conditions = Sequence[ColumnElement[bool]]


class RollupBase(Base):
    """A row of figures; what it is counted from holds the references, so it has none of its own."""

    __abstract__ = True
    __audited__: ClassVar[bool] = False  # the rows that it is counted from are

    organization_id: Mapped[uuid.UUID] = mapped_column(primary_key=True, sort_order=-100)


class StaleBase(Base):
    """A note that some figures no longer hold, made by a trigger and removed with the counting."""

    __abstract__ = True
    __audited__: ClassVar[bool] = False

    organization_id: Mapped[uuid.UUID] = mapped_column(primary_key=True, sort_order=-100)
    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True, sort_order=100)


@dataclass(frozen=True)
class Rollup:
    """One rollup.

    :param model: its table; the primary key tells one row of figures from another.
    :param stale: the table of its stale keys.
    :param key: the columns, of both tables, of what goes stale together; all rows of one are counted from one month.
    :param date: the one of these that says which month.
    :param raw: the table, in monthly partitions by ``local_date``, whose rows are counted.
    :param counted: returns the select that counts: the columns of ``model`` from ``raw``, whole.
    :param beside: other such tables that the select reads.
    :param matches: returns the condition that a raw row of the same organization belongs to a key.
    """

    model: Any
    stale: Any
    key: tuple[str, ...]
    date: str
    raw: Any
    counted: Callable[[], AnySelect]
    matches: Callable[[Any], ColumnElement[bool]]
    beside: tuple[Any, ...] = ()

    @property
    def name(self) -> str:
        """The name of its table."""
        return str(self.table.name)

    @property
    def table(self) -> Table:
        """Its table."""
        table: Table = self.model.__table__
        return table

    @property
    def primary(self) -> list[str]:
        """The names of the columns that tell its rows apart."""
        return [column.name for column in self.table.primary_key]

    @property
    def figures(self) -> list[str]:
        """The names of the columns that are counted."""
        return [column.name for column in self.table.columns if not column.primary_key]

    def same(self, one: Any, other: Any, names: Sequence[str] | None = None) -> ColumnElement[bool]:
        """Return the condition that two rows are about the same, or agree in some columns."""
        return and_(*(one[name] == other[name] for name in names or self.primary))

    def fresh(self, keys: Any, *conditions: ColumnElement[bool]) -> AnySelect:
        """Count the figures of some keys, each of which must stand among them once."""
        return self.counted().join(keys, self.matches(keys.c)).where(*conditions)

    def current(self, *, kept: Conditions, stale: Conditions, raw: Conditions) -> Subquery:
        """Return the figures as they are at this moment, as a table with the columns of ``model``.

        The conditions choose rows of the rollup, stale keys and raw rows. They must say the same of each, and name the
        organization and who asks: they are what is visible.
        """
        kept_columns, stale_columns = self.table.c, self.stale.__table__.c
        own = ("organization_id", *self.key)
        noted = exists(
            select(1)
            .select_from(self.stale)
            .where(*stale, self.same(stale_columns, kept_columns, own))
            .correlate(self.table)
        )
        holding = select(*kept_columns).where(*kept, ~noted)
        keys = select(*(stale_columns[name] for name in self.key)).where(*stale).distinct().subquery("keys")
        return union_all(holding, self.fresh(keys, *raw)).subquery(self.name[:50] + "_now")


_rollups: dict[str, Rollup] = {}


def rollup(described: Rollup) -> Rollup:
    """Register a rollup, so that it is folded, rebuilt and checked. Erasing takes the rows that it counts first."""
    _rollups[described.name] = described
    # Deleting a raw row notes a stale key, so the notes go after all that make them.
    described.raw.__table__.add_is_dependent_on(described.stale.__table__)
    return described


def rollups() -> Mapping[str, Rollup]:
    """Return all rollups by the names of their tables."""
    return _rollups


def month_of(column: Any) -> ColumnElement[Any]:
    """Return the first day of a date's month."""
    return _truncated("month", column)


def week_of(column: Any) -> ColumnElement[Any]:
    """Return the Monday of a date's week."""
    return _truncated("week", column)


def _truncated(unit: str, column: Any) -> ColumnElement[Any]:
    # Words, not values: PostgreSQL must see that what is selected is what is grouped by.
    return cast(func.date_trunc(literal_column(f"'{unit}'"), cast(column, DateTime())), Date)


def within_month(column: Any, month: Any) -> ColumnElement[bool]:
    """Return the condition that a date lies in the month that begins with another, as an index answers it."""
    until = cast(month + literal_column("INTERVAL '1 month'"), Date)
    return and_(column >= month, column < until)
