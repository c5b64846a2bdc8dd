"""Checks of the database at startup and on each new connection; without them the guarantees do not hold.

- Row-level security must apply to the role of the application. Otherwise a forgotten filter shows all tenants' rows.
- A commit must be flushed before it is confirmed. Otherwise a confirmed write may be lost. Its stamp is a flushed
  position, which may then be lower than its commit record.
- LC_CTYPE must recognize the letters of all scripts. Otherwise search finds no name with a letter outside of ASCII.
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


# Only UTF-8 with C.UTF-8 is accepted: pg_trgm recognizes letters by LC_CTYPE, whatever the locale provider is.
_SERVER = """
SELECT current_setting('synchronous_commit') = 'off',
       pg_encoding_to_char(encoding) = 'UTF8' AND lower(replace(datctype, '-', '')) = 'c.utf8',
       datname, pg_encoding_to_char(encoding), datctype
  FROM pg_database WHERE datname = current_database()
"""


class AsynchronousCommit(SettingsError):
    """The server confirms a commit before it is flushed."""


class WrongLocale(SettingsError):
    """The database's encoding or LC_CTYPE does not recognize the letters of all scripts."""


class UnboundRole(SettingsError):
    """Row-level security does not apply to the application's database role."""


def guard(app: Flask) -> None:
    """Check server and role on every new connection, and once at startup unless the database is unavailable.

    :raises UnboundRole: the role is a superuser, bypasses policies, or is a member of the tables' owner.
    :raises AsynchronousCommit: ``synchronous_commit`` is off.
    :raises WrongLocale: the database is not UTF-8 with LC_CTYPE C.UTF-8.
    """
    with app.app_context():
        for name, engine in db.engines.items():
            event.listen(engine, "connect", _refuse_server)
            if name != "system":  # the system role bypasses row-level security on purpose
                event.listen(engine, "connect", _refuse_unbound)
            _connect_once(engine)


def _connect_once(engine: Engine) -> None:
    with contextlib.suppress(OperationalError):
        engine.connect().close()
    engine.dispose()  # a forked process must not share the connection


def _fetch_row(connection: Any, query: str) -> tuple[Any, ...]:
    with connection.cursor() as cursor:
        row: tuple[Any, ...] = cursor.execute(query).fetchone()
    if not connection.autocommit:
        connection.rollback()  # end the transaction that the query has started
    return row


def _refuse_server(connection: Any, _record: object) -> None:
    is_asynchronous, has_letters, name, encoding, ctype = _fetch_row(connection, _SERVER)
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
    (is_unbound,) = _fetch_row(connection, _IS_UNBOUND)
    if is_unbound:
        connection.close()
        raise UnboundRole(
            f"POSTGRES_USER: row-level security does not apply to the role {role}; use one like campshub_app"
            " (see migrations/bootstrap.sql)"
        )
