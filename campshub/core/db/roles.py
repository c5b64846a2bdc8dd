"""What the application must be and find in the database, or its promises are none.

Policies must bind its role, or a forgotten filter shows every tenant. A commit must be flushed before it is answered,
or a write that was answered may be lost, and the stamps, which name flushed positions, may lie below it.
"""

import contextlib
from typing import Any

from flask import Flask
from sqlalchemy import Engine, event
from sqlalchemy.exc import OperationalError

from campshub.config import SettingsError
from campshub.core.db.session import db

_IS_UNBOUND = """
SELECT rolsuper OR rolbypassrls OR EXISTS (
         SELECT FROM pg_class
          WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
            AND pg_has_role(current_user, relowner, 'MEMBER'))
  FROM pg_roles WHERE rolname = current_user
"""


_IS_ASYNCHRONOUS = "SELECT current_setting('synchronous_commit') = 'off'"


class AsynchronousCommit(SettingsError):
    """The server answers a commit before it is flushed."""


class UnboundRole(SettingsError):
    """The application's database role is not bound by row-level security."""


def guard(app: Flask) -> None:
    """Check the role on every new connection, and once at the start, unless the database is away.

    :raises UnboundRole: the role is a superuser, bypasses policies, or may act as the owner of the tables.
    :raises AsynchronousCommit: ``synchronous_commit`` is off.
    """
    with app.app_context():
        for name, engine in db.engines.items():
            event.listen(engine, "connect", _refuse_asynchronous)
            if name != "system":
                event.listen(engine, "connect", _refuse_unbound)
            _try(engine)


def _try(engine: Engine) -> None:
    with contextlib.suppress(OperationalError):
        engine.connect().close()
    engine.dispose()  # a process that is forked from this one must not share the connection


def _ask(connection: Any, question: str) -> bool:
    with connection.cursor() as cursor:
        answer = bool(cursor.execute(question).fetchone()[0])
    if not connection.autocommit:
        connection.rollback()
    return answer


def _refuse_asynchronous(connection: Any, _record: object) -> None:
    if _ask(connection, _IS_ASYNCHRONOUS):
        connection.close()
        raise AsynchronousCommit("postgresql.conf: synchronous_commit must not be off; leave it at its default, on")


def _refuse_unbound(connection: Any, _record: object) -> None:
    role = connection.info.user
    if _ask(connection, _IS_UNBOUND):
        connection.close()
        raise UnboundRole(
            f"POSTGRES_USER: row-level security does not bind the role {role}; use one like campshub_app"
            " (see migrations/bootstrap.sql)"
        )
