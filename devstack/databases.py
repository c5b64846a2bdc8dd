"""Databases on the primary: made, given their roles and extensions, removed."""

from psycopg import sql

from devstack import keys, processes
from devstack.errors import StackError
from devstack.place import REPOSITORY
from devstack.postgres import Primary

BOOTSTRAP = REPOSITORY / "migrations" / "bootstrap.sql"


def create(primary: Primary, name: str, template: str | None = None) -> bool:
    """Make a database with the roles and extensions that it needs, and say whether it is new.

    :param template: another database of this server to copy; nobody may be connected to it.
    """
    with primary.place.lock("databases"):
        is_new = not exists(primary, name)
        if is_new:
            _make(primary, name, template or "template0")
        bootstrap(primary, name)
    return is_new


def exists(primary: Primary, name: str) -> bool:
    """Say whether there is such a database."""
    return bool(primary.query("SELECT 1 FROM pg_database WHERE datname = %s", name))


def drop(primary: Primary, name: str) -> None:
    """Remove a database, ending what is connected to it (PgBouncer keeps connections open)."""
    with primary.place.lock("databases"), primary.connect() as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def bootstrap(primary: Primary, name: str) -> None:
    """Run migrations/bootstrap.sql in a database.

    :raises StackError: a statement failed.
    """
    secrets = keys.load(primary.place)
    # By standard input: arguments are seen in the process list.
    lines = [rf"\set {role}_password '{secrets[role]}'" for role in keys.LOGINS]
    done = processes.run(
        [str(primary.programs / "psql"), "--no-psqlrc", "--quiet", "-v", "ON_ERROR_STOP=1", "--dbname", name],
        text="\n".join([*lines, rf"\i '{BOOTSTRAP}'", ""]),
        env=primary.environment_of_client(),
    )
    if done.returncode:
        raise StackError(f"migrations/bootstrap.sql failed: {done.stderr.strip()}")


def _make(primary: Primary, name: str, template: str) -> None:
    with primary.connect() as connection:
        # A template's idle connections belong to pools; nothing of theirs is lost.
        connection.execute(
            "SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity WHERE datname = %s", (template,)
        )
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
        connection.execute(statement)
