"""Rollups: precomputed aggregates of frequent queries, which are never older than the rows that they aggregate.

A trigger of the database records, in the transaction of each change, which keys of a rollup are outdated: it inserts
rows into a *stale* table, which has no other writers and for which no transaction waits. A read takes the stored
aggregates of all other keys and computes those of the stale keys itself, in one statement (``current``), so it is exact
at any moment. Every minute the aggregates of the stale keys are recomputed and their stale rows removed (``refresh``).

A module describes a rollup with the select that computes it. Reads, refreshes, rebuilds and checks all use this select.
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
    """A row of aggregates; it has no foreign keys, because the aggregated rows have them."""

    __abstract__ = True
    __audited__: ClassVar[bool] = False  # the aggregated rows are audited

    organization_id: Mapped[uuid.UUID] = mapped_column(primary_key=True, sort_order=-100)


class StaleBase(Base):
    """A stale key: some aggregates are outdated. A trigger inserts the row, and a refresh deletes it."""

    __abstract__ = True
    __audited__: ClassVar[bool] = False

    organization_id: Mapped[uuid.UUID] = mapped_column(primary_key=True, sort_order=-100)
    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True, sort_order=100)


@dataclass(frozen=True)
class Rollup:
    """One rollup.

    :param model: its table; the primary key identifies a row of aggregates.
    :param stale: the table of its stale keys; rollups that share it have the same key, and are refreshed together.
    :param key: the columns, in both tables, of the rows that become stale together; all raw rows of a key are in one
        month.
    :param date: the column of ``key`` that contains a date of this month.
    :param raw: the table, with monthly partitions by ``local_date``, whose rows are aggregated.
    :param counted: returns the select of the aggregates: all columns of ``model``, from all rows of ``raw``.
    :param also_read: other tables with monthly partitions that the select reads.
    :param matches: returns the condition that a raw row of the same organization belongs to a key.
    """

    model: Any
    stale: Any
    key: tuple[str, ...]
    date: str
    raw: Any
    counted: Callable[[], AnySelect]
    matches: Callable[[Any], ColumnElement[bool]]
    also_read: tuple[Any, ...] = ()

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
        """The names of the primary key's columns."""
        return [column.name for column in self.table.primary_key]

    @property
    def aggregates(self) -> list[str]:
        """The names of the aggregated columns."""
        return [column.name for column in self.table.columns if not column.primary_key]

    def same(self, one: Any, other: Any, names: Sequence[str] | None = None) -> ColumnElement[bool]:
        """Return the condition that two rows have the same primary key, or are equal in some columns."""
        return and_(*(one[name] == other[name] for name in names or self.primary))

    def fresh(self, keys: Any, *conditions: ColumnElement[bool]) -> AnySelect:
        """Compute the aggregates of some keys; each key must occur only once."""
        return self.counted().join(keys, self.matches(keys.c)).where(*conditions)

    def current(self, *, stored: Conditions, stale: Conditions, raw: Conditions) -> Subquery:
        """Return the current aggregates, as a table with the columns of ``model``.

        The conditions select rows of the rollup, stale keys and raw rows. They must be equivalent for all three, and
        restrict the rows to the organization and to what the caller may see.
        """
        stored_columns, stale_columns = self.table.c, self.stale.__table__.c
        own = ("organization_id", *self.key)
        is_stale = exists(
            select(1)
            .select_from(self.stale)
            .where(*stale, self.same(stale_columns, stored_columns, own))
            .correlate(self.table)
        )
        valid = select(*stored_columns).where(*stored, ~is_stale)
        keys = select(*(stale_columns[name] for name in self.key)).where(*stale).distinct().subquery("keys")
        return union_all(valid, self.fresh(keys, *raw)).subquery(self.name[:50] + "_now")


_rollups: dict[str, Rollup] = {}


def register_rollup(definition: Rollup) -> Rollup:
    """Register a rollup, so that it is refreshed, rebuilt and checked. Erasing deletes its raw rows first."""
    _rollups[definition.name] = definition
    # Deleting a raw row inserts a stale key, so stale keys must be deleted after the raw rows.
    definition.raw.__table__.add_is_dependent_on(definition.stale.__table__)
    return definition


def rollups() -> Mapping[str, Rollup]:
    """Return all rollups by the names of their tables."""
    return _rollups


def refreshed_together() -> list[list[Rollup]]:
    """Return the rollups in lists of those that share a table of stale keys.

    A further rollup of the same key so costs writers nothing.
    """
    found: dict[Any, list[Rollup]] = {}
    for one in _rollups.values():
        found.setdefault(one.stale, []).append(one)
    return list(found.values())


def month_of(column: Any) -> ColumnElement[Any]:
    """Return the first day of a date's month."""
    return _truncated("month", column)


def week_of(column: Any) -> ColumnElement[Any]:
    """Return the Monday of a date's week."""
    return _truncated("week", column)


def _truncated(unit: str, column: Any) -> ColumnElement[Any]:
    # Literals, not parameters: PostgreSQL must recognize that the selected and the grouped expression are the same.
    return cast(func.date_trunc(literal_column(f"'{unit}'"), cast(column, DateTime())), Date)


def within_month(column: Any, month: Any) -> ColumnElement[bool]:
    """Return the condition, in a form that an index supports, that a date is in the month that begins on ``month``."""
    until = cast(month + literal_column("INTERVAL '1 month'"), Date)
    return and_(column >= month, column < until)
