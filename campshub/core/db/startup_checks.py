"""What the application must be and find in the database, or its promises are none.

Policies must bind its role, or a forgotten filter shows every tenant. A commit must be flushed before it is answered,
or a write that was answered may be lost, and the stamps, which name flushed positions, may lie below it. LC_CTYPE must
know the letters of all scripts, or the search finds no name beyond ASCII.
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


# Of UTF-8 and C.UTF-8 alone: pg_trgm takes letters from LC_CTYPE, whatever the locale provider is.
_SERVER = """
SELECT current_setting('synchronous_commit') = 'off',
       pg_encoding_to_char(encoding) = 'UTF8' AND lower(replace(datctype, '-', '')) = 'c.utf8',
       datname, pg_encoding_to_char(encoding), datctype
  FROM pg_database WHERE datname = current_database()
"""


class AsynchronousCommit(SettingsError):
    """The server answers a commit before it is flushed."""


class WrongLocale(SettingsError):
    """The database's encoding or LC_CTYPE does not know the letters of all scripts."""


class UnboundRole(SettingsError):
    """The application's database role is not bound by row-level security."""


def guard(app: Flask) -> None:
    """Check server and role on every new connection, and once at the start, unless the database is unavailable.

    :raises UnboundRole: the role is a superuser, bypasses policies, or may act as the owner of the tables.
    :raises AsynchronousCommit: ``synchronous_commit`` is off.
    :raises WrongLocale: the database is not UTF-8 with LC_CTYPE C.UTF-8.
    """
    with app.app_context():
        for name, engine in db.engines.items():
            event.listen(engine, "connect", _refuse_server)
            if name != "system":
                event.listen(engine, "connect", _refuse_unbound)
            _try(engine)


def _try(engine: Engine) -> None:
    with contextlib.suppress(OperationalError):
        engine.connect().close()
    engine.dispose()  # a process that is forked from this one must not share the connection


def _ask(connection: Any, question: str) -> tuple[Any, ...]:
    with connection.cursor() as cursor:
        answer: tuple[Any, ...] = cursor.execute(question).fetchone()
    if not connection.autocommit:
        connection.rollback()
    return answer


def _refuse_server(connection: Any, _record: object) -> None:
    is_asynchronous, has_letters, name, encoding, ctype = _ask(connection, _SERVER)
    if is_asynchronous:
        connection.close()
        raise AsynchronousCommit("postgresql.conf: synchronous_commit must not be off; leave it at its default, on")
    if not has_letters:
        connection.close()
        raise WrongLocale(
            f"POSTGRES_DB: the database {name} has the encoding {encoding} and LC_CTYPE {ctype}, not UTF8 and C.UTF-8;"
            " dump it and restore it into one that has (docs/operations.md, The locale)"
        )


def _refuse_unbound(connection: Any, _record: object) -> None:
    role = connection.info.user
    (is_unbound,) = _ask(connection, _IS_UNBOUND)
    if is_unbound:
        connection.close()
        raise UnboundRole(
            f"POSTGRES_USER: row-level security does not bind the role {role}; use one like campshub_app"
            " (see migrations/bootstrap.sql)"
        )
