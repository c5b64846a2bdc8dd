"""The streaming replica: a base backup of the primary that follows it through a replication slot."""

import contextlib
import shutil
import time
from collections.abc import Mapping

import psycopg

from devstack import keys
from devstack.errors import StackError
from devstack.ports import LOOPBACK
from devstack.postgres import Primary, Server
from devstack.workspace import Workspace

SLOT = "campshub_replica"
STREAMING_PATIENCE_S = 15.0
POLL_S = 0.05


class Replica(Server):
    """The server that follows the primary and is read-only."""

    def __init__(self, workspace: Workspace, primary: Primary, settings: Mapping[str, str]) -> None:
        super().__init__(workspace, "replica", settings)
        self.primary = primary

    def configuration(self) -> str:
        """Add the connection to the primary."""
        password = keys.load(self.workspace)["replicator"]
        source = (
            f"host={LOOPBACK} port={self.primary.port} user={keys.role('replicator')} password={password}"
            f" application_name={self.name} sslmode=disable"
        )
        return super().configuration() + f"primary_conninfo = '{source}'\nprimary_slot_name = '{SLOT}'\n"

    def start(self) -> None:
        """Start the replica and wait until it streams; create it again, once, when it can no longer follow."""
        if self._can_follow():
            with contextlib.suppress(StackError):
                super().start()
                if self._streams():
                    return
        self.stop()
        shutil.rmtree(self.data, ignore_errors=True)
        super().start()
        if not self._streams():
            raise StackError(f"the replica does not follow the primary:{self.tail()}")

    def prepare_data(self) -> None:
        """Take a base backup unless there is one of the current primary that can still catch up."""
        if not self._can_follow():
            self._copy_primary()
        signal_file = self.data / "standby.signal"
        signal_file.touch()
        self.workspace.account.chown(signal_file)

    def pause(self) -> None:
        """Stop applying WAL from the primary; return when it has stopped."""
        self.query("SELECT pg_wal_replay_pause()")
        while self.query("SELECT pg_get_wal_replay_pause_state()")[0][0] != "paused":
            time.sleep(POLL_S)

    def resume(self) -> None:
        """Apply WAL from the primary again."""
        self.query("SELECT pg_wal_replay_resume()")

    def is_paused(self) -> bool:
        """Return whether applying has been stopped."""
        return bool(self.query("SELECT pg_is_wal_replay_paused()")[0][0])

    def catch_up(self, patience_s: float) -> None:
        """Wait until the replica has applied what the primary has written by now.

        :raises StackError: the time limit has passed.
        """
        # Not the insert position: it may be after the header of a page without a record, which replay never reaches.
        target = self.primary.query("SELECT pg_current_wal_flush_lsn()")[0][0]
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            if self.query("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", target)[0][0]:
                return
            time.sleep(POLL_S)
        raise StackError(f"the replica has not applied {target} after {patience_s:.0f} s")

    def _can_follow(self) -> bool:
        if not (self.data / "PG_VERSION").exists():
            return False
        slots = self.primary.query("SELECT wal_status FROM pg_replication_slots WHERE slot_name = %s", SLOT)
        if not slots or slots[0][0] in {None, "lost"}:
            return False
        of_primary = self.primary.query("SELECT system_identifier FROM pg_control_system()")[0][0]
        control = self.run("pg_controldata", "-D", str(self.data))
        return f"Database system identifier: {of_primary}" in " ".join(control.split())

    def _copy_primary(self) -> None:
        unfinished = self.folder / "data.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.rmtree(self.data, ignore_errors=True)
        self._renew_slot()
        self.run(
            "pg_basebackup",
            *("--pgdata", str(unfinished), "--slot", SLOT, "--wal-method", "stream"),
            *("--checkpoint", "fast", "--no-sync", "--host", LOOPBACK, "--port", str(self.primary.port)),
            *("--username", keys.role("replicator"), "--no-password"),
            password=keys.load(self.workspace)["replicator"],
        )
        unfinished.rename(self.data)

    def _renew_slot(self) -> None:
        self.primary.query(
            "SELECT pg_terminate_backend(active_pid, 5000) FROM pg_replication_slots WHERE slot_name = %s", SLOT
        )
        self.primary.query(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s", SLOT
        )
        self.primary.query("SELECT pg_create_physical_replication_slot(%s, true)", SLOT)

    def _streams(self) -> bool:
        deadline = time.monotonic() + STREAMING_PATIENCE_S
        while time.monotonic() < deadline:
            with contextlib.suppress(psycopg.OperationalError):
                if self.query("SELECT 1 FROM pg_stat_wal_receiver WHERE status = 'streaming'"):
                    return True
            time.sleep(POLL_S)
        return False
