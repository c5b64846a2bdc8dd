"""PgBouncer: one process in front of the primary, one in front of the replica, each with a wildcard database."""

import contextlib
import functools
import re
import subprocess
from collections.abc import Mapping

import psycopg

from devstack import keys, packages
from devstack.part import Part
from devstack.ports import LOOPBACK
from devstack.postgres import Server
from devstack.workspace import REPOSITORY, Workspace

KNOWS_PREPARED_STATEMENTS = (1, 22)


class PgBouncer(Part):
    """A PgBouncer in front of one PostgreSQL server."""

    program = "pgbouncer"
    # SIGINT and SIGTERM request a shutdown that waits for clients (differently in different versions); a stack that
    # stops need not wait for clients.
    stop_patience_s = 3.0

    def __init__(self, workspace: Workspace, server: Server, database: str, settings: Mapping[str, str]) -> None:
        super().__init__(workspace, f"pgbouncer-{server.name}")
        self.server = server
        self.database = database
        self.settings = settings

    def dsn(self, database: str, user: str = "app") -> str:
        """Return the URL of a database for a role by its short name."""
        password = keys.load(self.workspace)[user]
        return f"postgresql://{keys.role(user)}:{password}@{LOOPBACK}:{self.port}/{database}"

    @functools.cached_property
    def path(self) -> str:
        """Return the program's path; stopping the part does not need it."""
        return packages.find("pgbouncer", "pgbouncer")

    def require(self) -> None:
        """Find the program."""
        _ = self.path

    def includes(self) -> dict[str, str]:
        """Return the generated files by name."""
        secrets = keys.load(self.workspace)
        users = [f'"{keys.role(name)}" "{secrets[name]}"' for name in keys.LOGINS if name != "replicator"]
        listen = {"listen_addr": LOOPBACK, "listen_port": str(self.port), "unix_socket_dir": "", **self.settings}
        return {
            "databases.ini": f"* = host={LOOPBACK} port={self.server.port}\n",
            "listen.ini": "".join(f"{name} = {value}\n" for name, value in listen.items()),
            "newer.ini": "max_prepared_statements = 200\n" if self._supports_prepared_statements() else "\n",
            "userlist.txt": "\n".join([*users, ""]),
        }

    def inputs(self) -> str:
        """Return the project's pgbouncer.ini and the generated files."""
        return (REPOSITORY / "pgbouncer.ini").read_text(encoding="utf-8") + str(self.includes())

    def prepare(self) -> None:
        """Link the project's file into the folder and write its includes."""
        self.workspace.link(self.folder / "pgbouncer.ini", REPOSITORY / "pgbouncer.ini")
        for name, text in self.includes().items():
            self.workspace.write(self.folder / name, text)

    def command(self) -> list[str]:
        """Return the PgBouncer command with the project's file; it finds the includes in its working folder."""
        return [self.path, str(self.folder / "pgbouncer.ini")]

    def is_ready(self) -> bool:
        """Return whether PgBouncer gives a connection to the application's role."""
        with contextlib.suppress(psycopg.OperationalError):
            psycopg.connect(self.dsn(self.database), connect_timeout=2).close()
            return True
        return False

    def _supports_prepared_statements(self) -> bool:
        output = subprocess.run([self.path, "--version"], check=False, capture_output=True, text=True).stdout
        version = re.search(r"(\d+)\.(\d+)", output)
        return version is not None and tuple(map(int, version.groups())) >= KNOWS_PREPARED_STATEMENTS
