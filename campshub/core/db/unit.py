"""One unit of work: its server and tenant, and the SQL that sets the tenant on its connection."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Engine

from campshub.core.cache.values import RequestValues

PRIMARY = "primary"
REPLICA = "replica"
# The greatest position: no standby has replayed it, so only the primary passes the check.
PRIMARY_ONLY = "FFFFFFFF/FFFFFFFF"
_LSN = re.compile(r"[0-9A-F]{1,8}/[0-9A-F]{1,8}")


class ReplicaBehind(Exception):
    """The replica has not replayed the position that the read needs, or the server used as primary is a standby."""


@dataclass
class CallerRow:
    """The result of the SQL that sets the tenant: membership, session version, an earlier idempotent response."""

    role: str | None
    session_version: int | None
    time_zone: str | None
    organization_status: str | None
    # The server has replayed the position that the read needs.
    fresh: bool
    # No other request holds the advisory lock of the Idempotency-Key; None without a key.
    key_is_free: bool | None
    stored_response: dict[str, Any] | None
    # The caller's sign-in sessions that have ended while an access token of theirs is still valid.
    ended_sessions: list[str] | None = None
    # The permissions of a custom role and of the caller's API key; None for a built-in role, or without a key.
    permissions: list[str] | None = None
    scope: str | None = None
    key_permissions: list[str] | None = None
    key_scope: str | None = None


@dataclass(frozen=True, slots=True)
class Position:
    """The WAL position after a commit, and its primary; a replica that has replayed it shows what was written.

    Both are strings, so that a job can store them.
    """

    primary: str
    lsn: str


@dataclass
class Unit:
    """One unit of work: its server, its tenant, and what its commit writes besides its own rows."""

    engine: Engine
    read_only: bool = True
    organization_id: UUID | None = None
    user_id: UUID | None = None
    # The API key with which the request was sent, if any.
    api_key_id: UUID | None = None
    server: str = PRIMARY
    needed_lsn: str | None = None
    # Whether to read the caller's row; not needed if the lookup has returned the caller's state. A read without this
    # query sets the tenant in the same round trip as its statement.
    checks_caller: bool = True
    idempotency_key: UUID | None = None
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    trace_id: str = ""
    address: str | None = None
    caller_row: CallerRow | None = None
    # The identity of the primary, to which the stamps of this unit's writes belong.
    primary: str = ""
    # The position after its commit; None before that, and for a unit that only reads.
    ended_at: Position | None = None
    stamped: set[tuple[UUID, str]] = field(default_factory=set)
    # The months of monthly tables that it writes to: the tables' tags and the first days of the months.
    months: set[tuple[str, date]] = field(default_factory=set)
    # The reason of all changes of the unit, stored in each of its audit entries.
    reason: str | None = None
    audit: list[Any] = field(default_factory=list)
    outbox: list[dict[str, Any]] = field(default_factory=list)
    person_keys: dict[UUID, bytes] = field(default_factory=dict)
    new_persons: set[UUID] = field(default_factory=set)
    response_to_store: dict[str, Any] | None = None
    separate_writes: list[Callable[[Any], None]] = field(default_factory=list)
    # The cached values that it may use (``core.memoized``); None: it must compute them.
    values: RequestValues | None = None

    def on(self, **changes: Any) -> "Unit":
        """Return a copy of the unit with changes; ``dataclasses.replace`` takes ten times as long."""
        other = object.__new__(Unit)
        other.__dict__.update(self.__dict__, **changes)
        return other

    @property
    def begin_sql(self) -> str:
        """Return the SQL that begins the transaction."""
        return "BEGIN READ ONLY" if self.read_only else "BEGIN"

    def enter_sql(self) -> str:
        """Return the SQL that sets the tenant and reads the caller's row.

        The types of the values are checked, so they cannot inject SQL. For a unit that writes, the first column is the
        identity of the primary.
        """
        user = self.user_id if self.checks_caller else None
        key = self.api_key_id if self.checks_caller else None
        values = (_id(self.organization_id), _id(user), _lsn(self.needed_lsn), _id(self.idempotency_key), _id(key))
        identity = "" if self.read_only else "server_identity(), "
        return f"SELECT {identity}entered.* FROM enter({', '.join(values)}) AS entered"  # noqa: S608 - see above

    def tenant_sql(self) -> str:
        """Return the SQL that only sets the tenant, and returns whether the server has replayed what the read needs."""
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
