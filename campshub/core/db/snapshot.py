"""One moment of the database: read by several statements as it was at the first, and streamed, whatever its size."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection

from campshub.core.db.base import AnyRow
from campshub.core.db.session import db

AT_ONCE = 1_000


@contextmanager
def snapshot() -> Iterator[Connection]:
    """Open a read-only transaction of the system role that sees one moment, of whatever organization."""
    with db.engines["system"].connect() as connection:
        connection.exec_driver_sql("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        try:
            yield connection
        finally:
            connection.exec_driver_sql("ROLLBACK")


def parts_of(connection: Connection, statement: Any) -> Iterator[list[AnyRow]]:
    """Yield the rows of a statement, some at a time; a cursor of the server's holds the others."""
    options = {"stream_results": True, "max_row_buffer": AT_ONCE}
    with connection.execute(statement, execution_options=options) as result:
        for part in result.partitions(AT_ONCE):
            yield list(part)
