"""The replica's shipped script: it copies once, and after a promotion the server stays a primary."""

import os
import shutil
import signal
import subprocess
from types import SimpleNamespace

import psycopg
import pytest

from devstack import keys, ports
from devstack.replica import SLOT
from tests.conftest import ROOT
from tests.stack.conftest import stack_in
from tests.waiting import until

SCRIPT = ROOT / "deploy" / "compose" / "replica.sh"


@pytest.fixture
def primary(tmp_path_factory):
    """A separate primary, with the replica's slot."""
    with stack_in(tmp_path_factory.mktemp("promotion"), replica=False, pgbouncer=False, durable=False) as stack:
        stack.primary.start()
        stack.create_database(stack.database)
        stack.primary.query("SELECT pg_create_physical_replication_slot(%s, true)", SLOT)
        yield stack.primary


@pytest.fixture
def replica(primary):
    """The script with its own folders and port, as the servers' account; ``start`` runs it."""
    workspace = primary.workspace
    data = workspace.folder("copy") / "data"
    workspace.write(workspace.folder("secrets") / "postgres_replicator_password", keys.load(workspace)["replicator"])
    port = ports.assigned(workspace, "copy")
    environment = {
        **primary.environment,
        "PATH": f"{primary.programs}:{os.environ['PATH']}",
        "PGDATA": str(data),
        "PRIMARY_HOST": "127.0.0.1",
        "PRIMARY_PORT": str(primary.port),
        "LISTEN_PORT": str(port),
        "RUN_DIR": str(workspace.folder("copy")),
        "CONFIG_DIR": str(workspace.readable(ROOT / "postgresql.conf").parent),
        "SECRETS_DIR": str(workspace.folder("secrets")),
    }
    shutil.copy(SCRIPT, workspace.folder("copy"))
    (workspace.folder("copy") / SCRIPT.name).chmod(0o755)
    running = []

    def start():
        with (workspace.folder("logs") / "copy.log").open("ab") as log:
            running.append(
                subprocess.Popen(
                    [str(workspace.folder("copy") / SCRIPT.name)],
                    env=environment,
                    user=workspace.account.uid,
                    group=workspace.account.gid,
                    extra_groups=workspace.account.groups,
                    stdout=log,
                    stderr=log,
                )
            )
        until(lambda: query("SELECT 1"), 120)

    def query(statement):
        dsn = f"postgresql://postgres:{keys.load(workspace)['postgres']}@127.0.0.1:{port}/postgres"
        try:
            with psycopg.connect(dsn, autocommit=True, connect_timeout=3) as connection:
                found = connection.execute(statement)
                return found.fetchall() if found.description else []
        except psycopg.OperationalError:
            return []

    def stop():
        running[-1].send_signal(signal.SIGINT)
        assert running[-1].wait(60) == 0

    yield SimpleNamespace(start=start, stop=stop, query=query, data=data)
    if running[-1].poll() is None:
        stop()


def test_a_promoted_replica_is_a_primary_after_a_restart_and_accepts_writes(primary, replica):
    (replica.data.parent / "data.new").mkdir()  # an interrupted copy
    replica.start()
    primary.query("CREATE TABLE written_before (id int)")
    until(lambda: replica.query("SELECT to_regclass('written_before')") == [("written_before",)])
    assert replica.query("SELECT pg_is_in_recovery()") == [(True,)]

    replica.stop()
    replica.start()  # a restart does not promote
    assert replica.query("SELECT pg_is_in_recovery()") == [(True,)]
    primary.stop()
    assert replica.query("SELECT pg_promote()") == [(True,)]
    replica.query("CREATE TABLE written_after (id int)")

    for _ in range(2):
        replica.stop()
        replica.start()
        assert replica.query("SELECT pg_is_in_recovery()") == [(False,)]
        assert replica.query("INSERT INTO written_after VALUES (1) RETURNING id") == [(1,)]
    assert replica.query("SELECT count(*) FROM written_after") == [(2,)]
