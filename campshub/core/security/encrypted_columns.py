"""Encrypted columns: the context that each value is bound to, and re-encryption with the current key."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, ColumnElement, LargeBinary, Table, bindparam, func, select, text, tuple_

from campshub.core.db.models import Base
from campshub.core.db.session import Session
from campshub.core.security.crypto import DecryptionFailed, KeyRing

_BATCH_SIZE = 200


def encrypted(context: str) -> dict[str, Any]:
    """Return the ``info`` of an encrypted column; the context names columns of the row in braces."""
    return {"sealed": context}


def encryption_context(column: Any, **row: Any) -> str:
    """Return the context that a value of an encrypted column is bound to."""
    context: str = column.info["sealed"]
    return context.format_map(row)


@dataclass
class ResealTally:
    """The numbers of a column's values that were re-encrypted, and that could not be decrypted."""

    resealed: int = 0
    unreadable: int = 0


def sealed_columns() -> list[Column[Any]]:
    """Return the encrypted columns of all tables."""
    tables = Base.metadata.sorted_tables
    return [column for table in tables for column in table.columns if "sealed" in column.info]


def reseal(
    session: Session, ring: KeyRing, column: Column[Any], after: tuple[Any, ...] | None
) -> tuple[Any, ResealTally]:
    """Re-encrypt a batch of values of older keys; return the primary key after which to continue, and the tally.

    None instead of a key means that none remains. A value that changes concurrently is skipped: the change has
    encrypted it with the current key.
    """
    rows = session.execute(_older_statement(column, ring.current, after)).all()
    tally = ResealTally()
    for row in rows:
        values = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name
        try:
            made = _reencrypted(ring, column, values)
        except DecryptionFailed:
            tally.unreadable += 1
            continue
        tally.resealed += session.execute(_update_statement(column), {**values, "made": made}).rowcount  # type: ignore[attr-defined] # an update has it
    return (tuple(rows[-1][:-1]) if len(rows) == _BATCH_SIZE else None), tally


def _reencrypted(ring: KeyRing, column: Column[Any], values: Mapping[str, Any]) -> str | bytes:
    context, stored = encryption_context(column, **values), values[column.name]
    sealed = stored.decode() if isinstance(stored, bytes) else stored
    resealed = ring.seal(ring.open(sealed, context=context), context=context)
    return resealed.encode() if isinstance(stored, bytes) else resealed


def _older_statement(column: Column[Any], current: str, after: tuple[Any, ...] | None) -> Any:
    """Return the query for the next rows whose value is not encrypted with the current key."""
    keys = list(_table(column).primary_key)
    prefix: Any = f"{current}."
    is_bytes = isinstance(column.type, LargeBinary)
    older: ColumnElement[bool] = func.substr(column, 1, len(prefix)) != (prefix.encode() if is_bytes else prefix)
    rows = select(*keys, column).where(column.is_not(None), older).order_by(*keys).limit(_BATCH_SIZE)
    if after is None:
        return rows
    last = (bindparam(None, value, key.type) for key, value in zip(keys, after, strict=True))
    return rows.where(tuple_(*keys) > tuple_(*last))


def _update_statement(column: Column[Any]) -> Any:
    """Return the update of one value: without the ORM, because the row's version must not change."""
    table = _table(column)
    row = " AND ".join(f"{key.name} = :{key.name}" for key in table.primary_key)
    return text(f"UPDATE {table.name} SET {column.name} = :made WHERE {row} AND {column.name} = :{column.name}")  # noqa: S608 - names of our own tables


def _table(column: Column[Any]) -> Table:
    table = column.table
    if not isinstance(table, Table):
        raise TypeError(f"{column} belongs to no table")
    return table
