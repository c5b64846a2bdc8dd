"""Databases on the primary: create them, give them roles and extensions, drop them."""

import re

from psycopg import sql

from devstack import keys, processes
from devstack.errors import StackError
from devstack.postgres import CTYPE, Primary
from devstack.workspace import REPOSITORY

BOOTSTRAP = REPOSITORY / "migrations" / "bootstrap.sql"


def create(primary: Primary, name: str, template: str | None = None) -> bool:
    """Create a database with the roles and extensions that it needs, and return whether it is new.

    :param template: a database of this function to copy; its connections are ended.
    :raises StackError: the database exists with another locale than the application requires.
    """
    with primary.workspace.lock("databases"):
        is_new = not exists(primary, name)
        if is_new:
            _make(primary, name, template)
        else:
            _require_locale(primary, name)
        if is_new and template is not None:
            _set_privileges(primary, name)
        else:
            bootstrap(primary, name)
    return is_new


def exists(primary: Primary, name: str) -> bool:
    """Return whether there is such a database."""
    return bool(primary.query("SELECT 1 FROM pg_database WHERE datname = %s", name))


def drop(primary: Primary, name: str) -> None:
    """Drop a database after ending its connections (PgBouncer leaves connections open)."""
    with primary.workspace.lock("databases"), primary.connect() as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def bootstrap(primary: Primary, name: str) -> None:
    """Run migrations/bootstrap.sql in a database.

    :raises StackError: a statement failed.
    """
    secrets = keys.load(primary.workspace)
    # By standard input: arguments are visible in the process list.
    lines = [rf"\set {role}_password '{secrets[role]}'" for role in keys.LOGINS]
    done = processes.run(
        [str(primary.programs / "psql"), "--no-psqlrc", "--quiet", "-v", "ON_ERROR_STOP=1", "--dbname", name],
        text="\n".join([*lines, rf"\i '{BOOTSTRAP}'", ""]),
        env=primary.environment_of_client(),
    )
    if done.returncode:
        raise StackError(f"migrations/bootstrap.sql failed: {done.stderr.strip()}")


def _set_privileges(primary: Primary, name: str) -> None:
    """Run the statements of bootstrap.sql that concern the database itself; a copy has all else from its template."""
    found = re.search(r"^ALTER DATABASE.*?(?=^ALTER SCHEMA)", BOOTSTRAP.read_text(), re.MULTILINE | re.DOTALL)
    if found is None:
        raise StackError("migrations/bootstrap.sql has no statements about the database")
    statements = found[0].replace(':"DBNAME"', sql.Identifier(name).as_string(None))
    with primary.connect() as connection:
        connection.execute(statements.encode())


def _require_locale(primary: Primary, name: str) -> None:
    (ctype,) = primary.query("SELECT datctype FROM pg_database WHERE datname = %s", name)[0]
    if ctype.lower().replace("-", "") != CTYPE.lower().replace("-", ""):
        raise StackError(
            f"the database {name} in {primary.workspace.directory} was made with LC_CTYPE {ctype}, not {CTYPE}:"
            " the search would find no name beyond ASCII. `make clean` starts over with a new one; docs/operations.md"
            " says how to keep the data"
        )


def _make(primary: Primary, name: str, template: str | None) -> None:
    with primary.connect() as connection:
        # A template's idle connections belong to pools; ending them loses nothing.
        connection.execute(
            "SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity WHERE datname = %s", (template,)
        )
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
            sql.Identifier(name), sql.Identifier(template or "template0")
        )
        if template is None:  # the locale of an older server may differ
            statement += sql.SQL(
                " ENCODING 'UTF8' LOCALE_PROVIDER builtin BUILTIN_LOCALE {ctype} LC_CTYPE {ctype} LC_COLLATE 'C'"
            ).format(ctype=CTYPE)
        connection.execute(statement)
