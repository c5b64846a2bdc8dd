"""PostgreSQL's side of the protocol, exact and small: commits, positions, the epoch, a replica, timelines.

It replaces the servers, so that a commit, the query for the position after it, the replica's replay and a promotion can
each happen between any two steps of the code, thousands of times a minute. It understands exactly the statements of
``core.db.session.commit``. ``test_servers.py`` tests the same promises on the servers themselves.
"""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import psycopg
from sqlalchemy.dialects.postgresql import psycopg as dialect

from campshub.core.db.session import REPLICA, CallerRow, ReplicaBehind, Unit
from campshub.core.freshness.lease import Granted, Lease, Replayed
from campshub.core.security.permissions import Role
from tests.freshness.stepping import pause_point

FIRST_LSN, RECORD = 0x1000, 0x28
# The caller's role shows which of two writes to the caller state a server has.
ROLES = (Role.ADMIN, Role.SUPERADMIN, Role.TRAINER, Role.NUTRITIONIST)


@dataclass
class Commit:
    """The commit record of one transaction in the WAL; on the primary it becomes visible a moment later."""

    write: int
    adds_epoch: bool = False
    is_visible: bool = False


@dataclass
class Servers:
    """A primary and its replica, which shows what it has replayed."""

    log: list[Commit] = field(default_factory=list)
    replayed: int = 0
    flushed: int = 0
    starts: int = 0
    timeline: int = 1
    # A test sets this to False to remove the timeline from the primary's identity.
    identity_has_timeline: bool = True
    # The writes that change the caller's role.
    to_role: list[int] = field(default_factory=list)
    # A test sets this to True to return the inserted position instead of the flushed one.
    position_is_inserted: bool = False
    # Whether the next query for the position after a commit is cancelled.
    cancels_position: bool = False

    @property
    def identity(self) -> str:
        return f"7000-{self.timeline if self.identity_has_timeline else 1:08X}-5"

    @property
    def epoch(self) -> int:
        return sum(commit.adds_epoch for commit in self.log if commit.is_visible)

    def number(self, length: int) -> int:
        return FIRST_LSN + RECORD * length

    def position(self) -> str:
        """Return the result of ``pg_current_wal_flush_lsn()``."""
        return f"0/{self.number(len(self.log) if self.position_is_inserted else self.flushed):X}"

    def commit(self, write: int, *, adds_epoch: bool) -> Commit:
        """Write a commit record, and everything before it, to disk; its rows are not visible yet."""
        self.log.append(Commit(write, adds_epoch))
        self.flushed = len(self.log)
        return self.log[-1]

    def insert(self) -> None:
        """Insert WAL of a transaction that will not commit; it stays in memory for a moment."""
        self.log.append(Commit(0))

    def seen(self, server: str) -> frozenset[int]:
        if server == REPLICA:
            return frozenset(commit.write for commit in self.log[: self.replayed]) - {0}
        return frozenset(commit.write for commit in self.log if commit.is_visible) - {0}

    def role(self, server: str) -> Role:
        """Return the caller's role on a server."""
        seen = self.seen(server)
        return ROLES[sum(1 << place for place, write in enumerate(self.to_role) if write in seen)]

    def writes_shown_by(self, role: str) -> frozenset[int]:
        """Return the writes that a role contains."""
        return frozenset(write for place, write in enumerate(self.to_role) if ROLES.index(Role(role)) >> place & 1)

    def has(self, position: str | None) -> bool:
        """Return whether the replica has replayed a position."""
        return position is None or self.number(self.replayed) >= int(position.partition("/")[2], 16)

    def promote(self) -> None:
        """Make the replica the primary; what it had not replayed is lost."""
        self._restart_from(self.replayed)
        self.timeline += 1

    def crash(self) -> None:
        """Kill a backend of the primary: the server restarts from what is on disk."""
        self._restart_from(self.flushed)

    def _restart_from(self, end: int) -> None:
        del self.log[end:]
        for commit in self.log:
            commit.is_visible = True
        self.flushed = len(self.log)
        self.starts += 1


class Transaction:
    """A unit of work on these servers, with the interface of a session."""

    def __init__(self, servers: Servers, unit: Unit, write: int = 0) -> None:
        self.unit = unit
        self._servers = servers
        self._write = write
        self._starts = servers.starts
        self._adds_epoch = False
        self._is_open = True

    def rows(self) -> frozenset[int]:
        """Read the visible writes, as one statement would."""
        pause_point("read")
        if self.unit.server == REPLICA and not self._servers.has(self.unit.needed_lsn):
            raise ReplicaBehind
        return self._servers.seen(self.unit.server) - frozenset(self._servers.to_role)

    def execute(self, _statement: Any) -> None:
        """Accept the only extra statement of the edge: the row of a write that could not be stamped."""
        self._adds_epoch = True

    def flush(self) -> None: ...

    def commit(self) -> None: ...

    def finish(self, _commit: Any) -> None: ...

    def close(self) -> None: ...

    def in_transaction(self) -> bool:
        return self._is_open

    def connection(self) -> Any:
        driver = SimpleNamespace(cursor=lambda: Cursor(self), driver_connection=SimpleNamespace(closed=False))
        return SimpleNamespace(connection=driver, dialect=dialect.dialect())

    def run_statement(self, statement: str) -> str | None:
        """Run one statement of a commit; return its result."""
        if statement == "COMMIT":
            pause_point("commit")
            self._must_be_there()
            self._is_open = False
            commit = self._servers.commit(self._write, adds_epoch=self._adds_epoch)
            pause_point("visible")
            commit.is_visible = True
            pause_point("committed")
            return None
        if statement == "SELECT pg_current_wal_flush_lsn()":
            pause_point("lsn")
            self._must_be_there()
            if self._servers.cancels_position:
                self._servers.cancels_position = False
                raise psycopg.errors.QueryCanceled("canceling statement due to user request")
            return self._servers.position()
        raise AssertionError(statement)

    def _must_be_there(self) -> None:
        if self._starts != self._servers.starts:
            raise psycopg.OperationalError("server closed the connection unexpectedly")


class Cursor:
    """The results of a batch of statements."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._answer: str | None = None
        self.statusmessage = ""
        self.description: Any = None

    def execute(self, text: str, *, prepare: bool) -> None:
        assert not prepare
        statements = text.split("; ")
        self.statusmessage = statements[0].split()[0]
        for statement in statements:
            self._answer = self._transaction.run_statement(statement)
        self.description = (1,) if self._answer is not None else None

    def nextset(self) -> bool:
        return False

    def fetchone(self) -> tuple[str | None]:
        return (self._answer,)

    def close(self) -> None: ...


class ManualLease(Lease):
    """A lease that the test renews and ends; it has no threads."""

    def __init__(self, servers: Servers) -> None:
        self.servers = servers
        self.grant: Granted | None = None
        self.sees_replica = True
        self.is_away = False
        self._known: Granted | None = None

    def renew(self) -> None:
        """Read the epoch now."""
        self.grant = self._known = Granted(self.servers.epoch, self.servers.identity, 0.0)

    def run_out(self) -> None:
        self.grant = None

    def granted(self) -> Granted | None:
        return self.grant

    def last(self) -> Granted | None:
        return self._known

    def primary_is_unavailable(self) -> bool:
        return self.is_away and self.grant is None

    def replayed(self, number: int) -> Replayed | None:
        if number or not self.sees_replica:
            return None
        return Replayed(self.servers.number(self.servers.replayed), self.servers.identity, 0.0)

    def stop(self) -> None: ...


def caller_row(role: Role, *, fresh: bool = True) -> CallerRow:
    return CallerRow(role, 1, "UTC", "active", fresh, None, None)
