"""Bulk work of the system role: loads with COPY, and reads of whole tables as they were at one moment.

PostgreSQL refuses COPY FROM into tables with row-level security, so that loads need this role.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from psycopg.types.json import Jsonb
from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql import JSONB

from campshub.core.db.models import AnyRow
from campshub.core.db.session import Session, db
from campshub.core.db.unit_of_work import mark_changed

ROWS_AT_ONCE = 1_000


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


@contextmanager
def snapshot() -> Iterator[Connection]:
    """Open a read-only, repeatable-read transaction of the system role, across organizations."""
    with db.engines["system"].connect() as connection:
        connection.exec_driver_sql("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        try:
            yield connection
        finally:
            connection.exec_driver_sql("ROLLBACK")


def parts_of(connection: Connection, statement: Any) -> Iterator[list[AnyRow]]:
    """Yield the rows of a statement in chunks, with a server-side cursor."""
    options = {"stream_results": True, "max_row_buffer": ROWS_AT_ONCE}
    with connection.execute(statement, execution_options=options) as result:
        for part in result.partitions(ROWS_AT_ONCE):
            yield list(part)
