"""One unit of work: where it runs, for whom, and the words that put its connection into that tenant."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Engine

PRIMARY = "primary"
REPLICA = "replica"
# A position that nobody ever replays: only a server that is no standby is as far.
PRIMARY_ALONE = "FFFFFFFF/FFFFFFFF"
_LSN = re.compile(r"[0-9A-F]{1,8}/[0-9A-F]{1,8}")


class ReplicaBehind(Exception):
    """The replica has not replayed the position that the read needs, or what is asked as the primary is a standby."""


@dataclass
class CallerRow:
    """What the statement that sets the tenant tells: the membership, the session version, an earlier answer."""

    role: str | None
    session_version: int | None
    time_zone: str | None
    organization_status: str | None
    fresh: bool
    key_is_free: bool | None
    answer: dict[str, Any] | None
    # The caller's sessions that have ended though an access token of theirs has not.
    ended_sessions: list[str] | None = None
    # What an own role allows, and what the key does with which the caller comes; none of a built-in role, or no key.
    permissions: list[str] | None = None
    scope: str | None = None
    key_permissions: list[str] | None = None
    key_scope: str | None = None


@dataclass(frozen=True, slots=True)
class Position:
    """Where a commit has ended, and on which primary; a replica that has replayed it shows what was written.

    It is two texts, so that a job can carry it.
    """

    primary: str
    lsn: str


@dataclass
class Unit:
    """One unit of work: where it runs, for whom, and what its commit carries beside its own rows."""

    engine: Engine
    read_only: bool = True
    organization_id: UUID | None = None
    user_id: UUID | None = None
    # The key with which the user's request came, where it was one.
    api_key_id: UUID | None = None
    server: str = PRIMARY
    needed_lsn: str | None = None
    # Whether the database is asked who calls; not where the edge knows it already. A read that does not ask sets the
    # tenant in the same round trip as its statement.
    checks_caller: bool = True
    idempotency_key: UUID | None = None
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    trace_id: str = ""
    address: str | None = None
    caller_row: CallerRow | None = None
    # Who the primary is, which the stamps of what is written here belong to.
    primary: str = ""
    # Where its commit has ended; None before that, and of a unit that only reads.
    ended_at: Position | None = None
    stamped: set[tuple[UUID, str]] = field(default_factory=set)
    # The months of monthly tables that it writes to, by their first days, with the tables' tags.
    months: set[tuple[str, date]] = field(default_factory=set)
    # Why all that the unit changes is changed; it stands in each of its audit entries.
    reason: str | None = None
    audit: list[Any] = field(default_factory=list)
    outbox: list[dict[str, Any]] = field(default_factory=list)
    person_keys: dict[UUID, bytes] = field(default_factory=dict)
    new_persons: set[UUID] = field(default_factory=set)
    answer: dict[str, Any] | None = None
    separate_writes: list[Callable[[Any], None]] = field(default_factory=list)

    def on(self, **changes: Any) -> "Unit":
        """Return the unit with some things otherwise; ``dataclasses.replace`` takes ten times as long."""
        other = object.__new__(Unit)
        other.__dict__.update(self.__dict__, **changes)
        return other

    @property
    def begin_sql(self) -> str:
        """Return what begins the transaction."""
        return "BEGIN READ ONLY" if self.read_only else "BEGIN"

    def enter_sql(self) -> str:
        """Return the call that sets the tenant and tells who asks; the values' types leave no room for other words.

        One that will write is told who the primary is, before all else.
        """
        user = self.user_id if self.checks_caller else None
        key = self.api_key_id if self.checks_caller else None
        given = (_id(self.organization_id), _id(user), _lsn(self.needed_lsn), _id(self.idempotency_key), _id(key))
        identity = "" if self.read_only else "server_identity(), "
        return f"SELECT {identity}entered.* FROM enter({', '.join(given)}) AS entered"  # noqa: S608 - see above

    def tenant_sql(self) -> str:
        """Return what sets the tenant alone, and tells whether the server has replayed what the read needs."""
        fresh = "true"
        if self.needed_lsn is not None:
            fresh = f"NOT pg_is_in_recovery() OR pg_last_wal_replay_lsn() >= {_lsn(self.needed_lsn)}"
        return f"SELECT {fresh}, set_config('app.organization_id', {_id(self.organization_id)}, true)"


def _id(value: UUID | None) -> str:
    if value is None:
        return "NULL"
    if type(value) is not UUID:
        raise TypeError("not an id")
    return f"'{value}'"


def _lsn(position: str | None) -> str:
    if position is None:
        return "NULL"
    if not _LSN.fullmatch(position):
        raise ValueError("not a WAL position")
    return f"'{position}'"
