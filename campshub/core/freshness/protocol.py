"""The freshness protocol: after the response to a write, no read returns older data, and no read goes back in time.

Each organization has a stamp for each tag: an epoch, and the WAL position of the primary at or after the last commit
that touched the tag. The stamp decides whether a replica may serve a read (it has replayed the position) and whether a
cached response is current (the stamp is part of its key). ``docs/freshness.md`` describes the steps and why each
is needed; the scripts in ``core/freshness/scripts`` run them in Redis.
"""

import hashlib
import random
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from campshub.core.db.models import PLATFORM_ID
from campshub.core.freshness.lease import LEASE_S, Granted, Lease, elapsed
from campshub.core.observe import metrics
from campshub.core.redis.batching import BatchedRequest, Interrupted, RequestBatcher
from campshub.core.redis.connection import CacheUnavailable
from campshub.core.redis.pipeline import PipelinedRedis, Script

SCRIPTS = Path(__file__).parent / "scripts"
DEADLINE_MS = 10_000
# If more time than this has passed since ``begin``, it is called again before COMMIT: otherwise the pending entry could
# be overdue before COMMIT ends. No constraint check is deferred to COMMIT, but its duration has no upper bound (a
# synchronous replica, a full disk). So a write whose COMMIT takes longer than this also changes the epoch.
COMMIT_WITHIN_S = 5.0
# The flushed position, not the inserted one: WAL that is not flushed is lost when a backend crashes, and then its
# positions are used again under the same identity. All visible rows are flushed, because `synchronous_commit` is on.
POSITION = "SELECT pg_current_wal_flush_lsn(), server_identity()"

TRUST, PRIMARY, REPAIR = 0, 1, 2
_IDENTITY = 9  # the index, in the script's reply, of an identity that the process does not know yet
_NOT_COUNTED = ("", 0, 0, 0, 0)
IN_MEMORY = 1  # the script's reply for a value that the process already has

Pair = tuple[UUID, str]


@dataclass(slots=True)
class LookupRequest:
    """The lookup of one request, besides the caller's rate limits.

    ``caller_key`` and ``candidate_key`` are the keys of the caller state and of the response that this process has in
    its memory. If they are current, Redis returns ``IN_MEMORY`` instead of the value.
    """

    organization: str
    user: str
    stamps: Sequence[str] = ()
    seconds: int = 0
    caller_key: bytes = b""
    view: str = ""
    digest: str = ""
    candidate_key: bytes = b""


@dataclass(slots=True)
class LookupReply:
    """The reply of Redis.

    ``is_trusted``: the stamps are current, so ``position``, the caller's ``state`` and the ``response`` may be used.
    ``is_unverified``: the primary is unavailable, so stamps are compared with the last known epoch.
    """

    rate_limits: Any = None
    is_trusted: bool = False
    is_unverified: bool = False
    position: str = ""
    space: bytes = b""
    caller_key: bytes = b""
    state: Any = None
    response_key: bytes = b""
    response: Any = None


@dataclass(slots=True)
class PendingWrite:
    """A write whose pending entries are stored in Redis."""

    nonce: str
    primary: str
    at: float  # by the clock of the lease
    entries: list[tuple[PipelinedRedis, bytes, list[str]]]

    def is_late(self) -> bool:
        """Return whether its entries are overdue or may be so before COMMIT ends."""
        return elapsed() - self.at > COMMIT_WITHIN_S


class Freshness:
    """Stamps, pending entries and repairs, in the cache Redis of each organization.

    ``primary`` is the engine of the primary; set it before the first lookup.
    """

    primary: Engine

    def __init__(self, urls: Sequence[str], lease: Lease, *, counting: str) -> None:
        self._lease = lease
        self._look_up, self._begin = Script(SCRIPTS, "ask", counting), Script(SCRIPTS, "begin")
        self._end, self._repair = Script(SCRIPTS, "end"), Script(SCRIPTS, "repair")
        scripts = (self._look_up, self._begin, self._end, self._repair)
        self.servers = [PipelinedRedis(url, scripts, name=f"cache{number}") for number, url in enumerate(urls)]
        self._positions = RequestBatcher(lambda requests: _read_position(self.primary, requests))

    def redis_of(self, organization: str) -> PipelinedRedis:
        """Return the Redis that stores an organization's stamps and responses (rendezvous hashing)."""
        if len(self.servers) == 1:
            return self.servers[0]
        return max(self.servers, key=lambda server: _weight(server.url, organization))

    # Reading ---------------------------------------------------------------------------------------------------------

    def look_up(self, request: LookupRequest, counted: Sequence[Any] | None) -> LookupReply:
        """Look up all that a request needs in one round trip; a repair takes more round trips.

        ``counted`` contains the caller and the four numbers of the rate limits; None: the request is not counted.

        :raises CacheUnavailable: Redis does not reply.
        """
        lease, is_unverified = None, False
        if request.stamps:
            lease = self._lease.granted()
            if lease is None and self._lease.primary_is_unavailable():
                lease, is_unverified = self._lease.last(), True
        server = self.redis_of(request.organization)
        reply = server.run(self._look_up, *_arguments(request, server, lease, counted))
        verdict = reply[1]
        if verdict == REPAIR and lease is not None and not is_unverified:
            limits = reply[0]  # of the first call: the second one must not count the request again
            if self._repaired(server, lease, reply):
                reply = server.run(self._look_up, *_arguments(request, server, lease, None))
                verdict = reply[1]
            reply[0] = limits
        if len(reply) > _IDENTITY and reply[_IDENTITY] is not None:
            server.identity = reply[_IDENTITY]
        return _read(reply, is_trusted=verdict == TRUST, is_unverified=is_unverified)

    def _repaired(self, server: PipelinedRedis, lease: Granted, reply: Sequence[Any]) -> bool:
        """Set missing and outdated stamps to the primary's current position; return whether this has succeeded."""
        space, repairs = reply[2], reply[8]
        try:
            position, primary = self._positions.request()
        except (SQLAlchemyError, psycopg.Error, Interrupted):
            return False
        if primary != lease.primary:
            return False
        metrics.repairs.inc()
        arguments = (_nonce(), lease.primary, space, lease.epoch, comparable(position), *repairs)
        return bool(server.run(self._repair, *arguments))

    # Writing ---------------------------------------------------------------------------------------------------------

    def begin(self, stamped: Collection[Pair], primary: str) -> PendingWrite | None:
        """Store pending entries, which send the readers of the affected tags to the primary.

        Return None if a Redis does not reply: then the write must change the epoch instead.
        """
        begun = PendingWrite(_nonce(), primary, elapsed(), [])
        try:
            for server, names in self._by_server(stamped):
                space = server.run(self._begin, begun.nonce, primary, DEADLINE_MS, *names)
                begun.entries.append((server, space, names))
        except CacheUnavailable:
            self.end(begun, None)
            return None
        return begun

    def end(self, begun: PendingWrite, position: str | None) -> None:
        """Raise the stamps to the position after the commit; no position means that the write was rolled back.

        If Redis does not reply, the pending entry sends readers to the primary until it is overdue and repaired.
        """
        raised = comparable(position) if position is not None else ""
        for server, space, names in begun.entries:
            try:
                server.run(self._end, begun.nonce, begun.primary, space, raised, *names)
            except CacheUnavailable:
                continue

    def wait_for_leases(self) -> None:
        """Wait until no process still trusts the epoch that an unstamped write has replaced."""
        metrics.unstamped.inc()
        time.sleep(LEASE_S)

    def _by_server(self, stamped: Collection[Pair]) -> list[tuple[PipelinedRedis, list[str]]]:
        """Distribute the stamps over the Redis servers; the stamps of the platform's rows are on each server."""
        found: dict[int, list[str]] = {}
        for organization_id, tag in sorted(stamped, key=str):
            servers = self.servers if organization_id == PLATFORM_ID else [self.redis_of(str(organization_id))]
            for server in servers:
                found.setdefault(self.servers.index(server), []).append(f"{organization_id}:{tag}")
        return [(self.servers[index], names) for index, names in found.items()]

    def forget(self) -> None:
        """Give every Redis a new identity: former responses are not found, and all reads go to the primary for 10 s.

        :raises CacheUnavailable: one of them does not reply.
        """
        lease = self._lease.wait()
        for server in self.servers:
            server.send(b"DEL", f"identity:{lease.primary}")

    def close(self) -> None:
        """Close the connections."""
        for server in self.servers:
            server.close()


@lru_cache(maxsize=100_000)
def _weight(url: str, organization: str) -> bytes:
    return hashlib.blake2b(f"{url}|{organization}".encode(), digest_size=8).digest()


def _nonce() -> str:
    """Return a random name for a write or an identity; a forked process seeds the generator again."""
    return f"{random.getrandbits(64):016x}"


def comparable(position: str) -> str:
    """Return a WAL position as 16 hexadecimal digits; greater positions sort later."""
    high, _, low = position.partition("/")
    return f"{high:0>8}{low:0>8}".upper()


def as_lsn(position: str) -> str:
    """Return a comparable position in PostgreSQL's format."""
    return f"{int(position[:8], 16):X}/{int(position[8:], 16):X}"


def _read_position(primary: Engine, requests: Sequence[BatchedRequest]) -> None:
    """Read the primary's current position and identity, once for all requests that came before the query."""
    with primary.connect() as connection:
        row = connection.exec_driver_sql(POSITION).one()
    for request in requests:
        request.reply = (row[0], row[1])


def _arguments(
    request: LookupRequest, server: PipelinedRedis, lease: Granted | None, counted: Sequence[Any] | None
) -> tuple[Any, ...]:
    return (
        _nonce(),
        lease.primary if lease else "",
        server.identity,
        f"{lease.epoch}:" if lease else "",
        *(counted or _NOT_COUNTED),
        request.organization,
        request.user,
        request.seconds,
        request.caller_key,
        request.view,
        request.digest,
        request.candidate_key,
        *request.stamps,
    )


def _read(reply: Sequence[Any], *, is_trusted: bool, is_unverified: bool) -> LookupReply:
    """Parse the script's reply, which is shorter if the stamps are not trusted."""
    fields = [*reply, *(None,) * (_IDENTITY + 1 - len(reply))]
    limits, _, space, position, caller_key, state, response_key, cached, *_ = fields
    return LookupReply(
        rate_limits=limits,
        is_trusted=is_trusted,
        is_unverified=is_unverified,
        space=space or b"",
        position=(position or b"").decode(),
        caller_key=caller_key or b"",
        state=state,
        response_key=response_key or b"",
        response=cached,
    )
