"""Bulk loads with COPY, for the system role only: PostgreSQL refuses COPY FROM into tables with row-level security."""

from collections.abc import Iterable, Sequence
from typing import Any

from psycopg.types.json import Jsonb
from sqlalchemy.dialects.postgresql import JSONB

from campshub.core.db.session import Session
from campshub.core.db.unit_of_work import mark_changed


def copy_rows(session: Session, model: Any, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> int:
    """Copy rows into a table within the unit of work; return their number. They are stamped but not audited.

    For loads by the installation (demo data, restores). Requires the system role.
    """
    table = model.__table__
    json = [index for index, name in enumerate(columns) if isinstance(table.c[name].type, JSONB)]
    names = ", ".join(columns)
    count = 0
    mark_changed(session, model)
    cursor = session.connection().connection.cursor()
    try:
        with cursor.copy(f"COPY {table.name} ({names}) FROM STDIN") as copy:
            for row in rows:
                values = list(row)
                for index in json:
                    if values[index] is not None:
                        values[index] = Jsonb(values[index])
                copy.write_row(values)
                count += 1
    finally:
        cursor.close()
    return count
