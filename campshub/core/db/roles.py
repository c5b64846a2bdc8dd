"""Whom the application is in the database: policies must bind its role, or a forgotten filter shows every tenant."""

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


class UnboundRole(SettingsError):
    """The application's database role is not bound by row-level security."""


def guard(app: Flask) -> None:
    """Check the role on every new connection, and once at the start, unless the database is away.

    :raises UnboundRole: the role is a superuser, bypasses policies, or may act as the owner of the tables.
    """
    with app.app_context():
        for name, engine in db.engines.items():
            if name == "system":
                continue
            event.listen(engine, "connect", _refuse_unbound)
            _try(engine)


def _try(engine: Engine) -> None:
    with contextlib.suppress(OperationalError):
        engine.connect().close()
    engine.dispose()  # a process that is forked from this one must not share the connection


def _refuse_unbound(connection: Any, _record: object) -> None:
    with connection.cursor() as cursor:
        unbound, role = cursor.execute(_IS_UNBOUND).fetchone()[0], connection.info.user
    if not connection.autocommit:
        connection.rollback()
    if unbound:
        connection.close()
        raise UnboundRole(
            f"POSTGRES_USER: row-level security does not bind the role {role}; use one like campshub_app"
            " (see migrations/bootstrap.sql)"
        )
