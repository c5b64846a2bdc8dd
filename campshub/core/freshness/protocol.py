"""The protocol of freshness: after a write is answered, no read anywhere shows less; and no read goes back.

Each organization has a stamp for each tag: an epoch, and the WAL position of the primary at or after the last commit
that touched it. It says whether a replica may answer (it has replayed the position) and whether a kept answer is still
true (the stamp is part of its key). `docs/decisions/0010-freshness.md` says why each step is there; the scripts in
``core/freshness/scripts`` take the steps in Redis.
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
from campshub.core.freshness.lease import HOLDS_S, Granted, Lease, elapsed
from campshub.core.observe import metrics
from campshub.core.redis.batching import BatchedRequest, Interrupted, RequestBatcher
from campshub.core.redis.connection import CacheUnavailable
from campshub.core.redis.pipeline import PipelinedRedis, Script

SCRIPTS = Path(__file__).parent / "scripts"
DEADLINE_MS = 10_000
# A commit that would start later than this after its begin begins again: its entry could be overdue before it is over.
# What COMMIT itself takes nobody can bound (a synchronous replica, a full disk): no check is put off to it, and one
# that ends later changes the epoch as well.
COMMIT_WITHIN_S = 5.0
# The position that is flushed: all that anyone has seen is, since `synchronous_commit` is on. What is inserted beyond
# it is lost when a backend dies, and the same positions are given out again under the same identity.
POSITION = "SELECT pg_current_wal_flush_lsn(), server_identity()"

TRUST, PRIMARY, REPAIR = 0, 1, 2
_IDENTITY = 9  # where the script tells an identity that the process does not know yet
_NOT_COUNTED = ("", 0, 0, 0, 0)
HELD = 1  # the script says that the process has it already

Pair = tuple[UUID, str]


@dataclass(slots=True)
class LookupRequest:
    """What the edge wants to know for one request, beside the caller's limits."""

    organization: str
    user: str
    stamps: Sequence[str] = ()
    seconds: int = 0
    caller_key: bytes = b""
    view: str = ""
    digest: str = ""
    answer_key: bytes = b""


@dataclass(slots=True)
class LookupReply:
    """What Redis has told: where the caller's limits stand, and what may be trusted."""

    standing: Any = None
    is_trusted: bool = False
    is_unverified: bool = False
    position: str = ""
    space: bytes = b""
    caller_key: bytes = b""
    state: Any = None
    answer_key: bytes = b""
    answer: Any = None


@dataclass(slots=True)
class Begun:
    """A write whose pending entries stand in Redis."""

    nonce: str
    primary: str
    at: float
    entries: list[tuple[PipelinedRedis, bytes, list[str]]]

    def is_late(self) -> bool:
        """Tell whether its entries may be overdue before long, or are."""
        return elapsed() - self.at > COMMIT_WITHIN_S


class Freshness:
    """Stamps, pending entries and repairs, in the cache Redis of each organization.

    ``primary`` is the engine of the primary, which has to be set before anything is asked.
    """

    primary: Engine

    def __init__(self, urls: Sequence[str], lease: Lease, *, counting: str) -> None:
        self._lease = lease
        self._ask, self._begin = Script(SCRIPTS, "ask", counting), Script(SCRIPTS, "begin")
        self._end, self._repair = Script(SCRIPTS, "end"), Script(SCRIPTS, "repair")
        scripts = (self._ask, self._begin, self._end, self._repair)
        self.wires = [PipelinedRedis(url, scripts, name=f"cache{number}") for number, url in enumerate(urls)]
        self._positions = RequestBatcher(lambda errands: _ask_position(self.primary, errands))

    def redis_of(self, organization: str) -> PipelinedRedis:
        """Return the Redis in which an organization's stamps and answers live (rendezvous hashing)."""
        if len(self.wires) == 1:
            return self.wires[0]
        return max(self.wires, key=lambda wire: _weight(wire.url, organization))

    # Reading ---------------------------------------------------------------------------------------------------------

    def ask(self, question: LookupRequest, counted: Sequence[Any] | None) -> LookupReply:
        """Ask all that a request needs in one round trip; repair what needs it, which takes more.

        ``counted`` names the caller and the limits; None: the request is not counted.

        :raises CacheUnavailable: Redis does not answer.
        """
        lease, is_unverified = None, False
        if question.stamps:
            lease = self._lease.granted()
            if lease is None and self._lease.primary_is_away():
                lease, is_unverified = self._lease.last(), True
        wire = self.redis_of(question.organization)
        answer = wire.run(self._ask, *_arguments(question, wire, lease, counted))
        verdict = answer[1]
        if verdict == REPAIR and lease is not None and not is_unverified:
            standing = answer[0]
            if self._repaired(wire, lease, answer):
                answer = wire.run(self._ask, *_arguments(question, wire, lease, None))
                verdict = answer[1]
            answer[0] = standing
        if len(answer) > _IDENTITY and answer[_IDENTITY] is not None:
            wire.identity = answer[_IDENTITY]
        return _read(answer, is_trusted=verdict == TRUST, is_unverified=is_unverified)

    def _repaired(self, wire: PipelinedRedis, lease: Granted, answer: Sequence[Any]) -> bool:
        """Give the stamps that need it what the primary tells now; tell whether it may be trusted."""
        space, repairs = answer[2], answer[8]
        try:
            position, primary = self._positions.ask()
        except (SQLAlchemyError, psycopg.Error, Interrupted):
            return False
        if primary != lease.primary:
            return False
        metrics.repairs.inc()
        arguments = (_nonce(), lease.primary, space, lease.epoch, comparable(position), *repairs)
        return bool(wire.run(self._repair, *arguments))

    # Writing ---------------------------------------------------------------------------------------------------------

    def begin(self, stamped: Collection[Pair], primary: str) -> Begun | None:
        """Send the readers of what is about to be committed to the primary.

        None: a Redis does not answer, so the write must change the epoch instead.
        """
        begun = Begun(_nonce(), primary, elapsed(), [])
        try:
            for wire, names in self._by_wire(stamped):
                space = wire.run(self._begin, begun.nonce, primary, DEADLINE_MS, *names)
                begun.entries.append((wire, space, names))
        except CacheUnavailable:
            self.end(begun, None)
            return None
        return begun

    def end(self, begun: Begun, position: str | None) -> None:
        """Raise the stamps to where the write has ended; without a position it was rolled back.

        Where Redis does not answer, the pending entry keeps readers at the primary until it is overdue and repaired.
        """
        raised = comparable(position) if position is not None else ""
        for wire, space, names in begun.entries:
            try:
                wire.run(self._end, begun.nonce, begun.primary, space, raised, *names)
            except CacheUnavailable:
                continue

    def wait_out(self) -> None:
        """Wait until no process trusts the epoch before a write that could not be stamped."""
        metrics.unstamped.inc()
        time.sleep(HOLDS_S)

    def _by_wire(self, stamped: Collection[Pair]) -> list[tuple[PipelinedRedis, list[str]]]:
        """Share the stamps among the Redis servers; those of the platform's rows are in each."""
        found: dict[int, list[str]] = {}
        for organization_id, tag in sorted(stamped, key=str):
            wires = self.wires if organization_id == PLATFORM_ID else [self.redis_of(str(organization_id))]
            for wire in wires:
                found.setdefault(self.wires.index(wire), []).append(f"{organization_id}:{tag}")
        return [(self.wires[index], names) for index, names in found.items()]

    def forget(self) -> None:
        """Give every Redis a new identity: nothing that was kept is found, and all reads go to the primary for 10 s.

        :raises CacheUnavailable: one does not answer.
        """
        lease = self._lease.wait()
        for wire in self.wires:
            wire.send(b"DEL", f"identity:{lease.primary}")

    def close(self) -> None:
        """Close the connections."""
        for wire in self.wires:
            wire.close()


@lru_cache(maxsize=100_000)
def _weight(url: str, organization: str) -> bytes:
    return hashlib.blake2b(f"{url}|{organization}".encode(), digest_size=8).digest()


def _nonce() -> str:
    """Return what no other write and no other identity is named by; a forked process seeds the generator anew."""
    return f"{random.getrandbits(64):016x}"


def comparable(position: str) -> str:
    """Write a WAL position in 16 hexadecimal digits, of which the greater one sorts later."""
    high, _, low = position.partition("/")
    return f"{high:0>8}{low:0>8}".upper()


def as_lsn(position: str) -> str:
    """Write a comparable position as PostgreSQL does."""
    return f"{int(position[:8], 16):X}/{int(position[8:], 16):X}"


def _ask_position(primary: Engine, errands: Sequence[BatchedRequest]) -> None:
    """Ask the primary for its position now and for who it is, once for all who came before the question."""
    with primary.connect() as connection:
        row = connection.exec_driver_sql(POSITION).one()
    for errand in errands:
        errand.answer = (row[0], row[1])


def _arguments(
    question: LookupRequest, wire: PipelinedRedis, lease: Granted | None, counted: Sequence[Any] | None
) -> tuple[Any, ...]:
    return (
        _nonce(),
        lease.primary if lease else "",
        wire.identity,
        f"{lease.epoch}:" if lease else "",
        *(counted or _NOT_COUNTED),
        question.organization,
        question.user,
        question.seconds,
        question.caller_key,
        question.view,
        question.digest,
        question.answer_key,
        *question.stamps,
    )


def _read(answer: Sequence[Any], *, is_trusted: bool, is_unverified: bool) -> LookupReply:
    """Read what the script answers; a verdict other than trust cuts it short."""
    found = [*answer, *(None,) * (_IDENTITY + 1 - len(answer))]
    standing, _, space, position, caller_key, state, answer_key, kept, *_ = found
    return LookupReply(
        standing=standing,
        is_trusted=is_trusted,
        is_unverified=is_unverified,
        space=space or b"",
        position=(position or b"").decode(),
        caller_key=caller_key or b"",
        state=state,
        answer_key=answer_key or b"",
        answer=kept,
    )
