"""Which server answers a read: a replica that has replayed what is needed, else the primary, within a cap."""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from campshub.config import Settings
from campshub.core.circuit_breaker import CircuitBreaker
from campshub.core.db.session import REPLICA, ReplicaBehind, Unit, is_gone
from campshub.core.db.unit import Position
from campshub.core.freshness.lease import Lease
from campshub.core.freshness.protocol import LookupReply, as_lsn, comparable
from campshub.core.observe import metrics

Engines = Mapping[str | None, Engine]

PAUSE_S = 2.0
ASKED_AGAIN_S = 0.05  # twice in the time between two questions of the watch
# A replica ends a query that stands in the way of what it has to replay; the primary has no such conflict.
_CONFLICT = frozenset({"40001", "57014", "57P01"})


class SpillFull(Exception):
    """As many reads as may be are at the primary already, and none has ended in time."""


class Replica:
    """One replica: how many reads it has at work, and whether it answers at all."""

    def __init__(self, number: int, engines: Engines) -> None:
        self.number = number
        self._engines = engines
        self.at_work = 0
        name = f"{REPLICA}{number}"
        self.breaker = CircuitBreaker(PAUSE_S, name=name, changed=metrics.breaker_open.labels(name).set)

    @contextmanager
    def reading(self, unit: Unit, position: str) -> Iterator[Unit]:
        """Lend the unit to this replica, which is asked once more whether it has replayed the position.

        :raises DBAPIError: it has failed; ``failed`` tells whether the primary may be asked instead.
        """
        self.at_work += 1
        try:
            yield unit.on(
                engine=self._engines[f"{REPLICA}{self.number}"],
                server=REPLICA,
                needed_lsn=as_lsn(position) if position else None,
            )
        except DBAPIError as error:
            if is_gone(error):
                self.breaker.failed()
            raise
        except ReplicaBehind:
            self.breaker.succeeded()
            raise
        else:
            self.breaker.succeeded()
        finally:
            self.at_work -= 1


class Replicas:
    """The replicas of an installation, as one process sees them."""

    def __init__(self, settings: Settings, lease: Lease, engines: Engines) -> None:
        self._lease = lease
        self._engines = engines
        self._replicas = [Replica(number, engines) for number, _ in enumerate(settings.replicas)]
        self._patience_s = settings.db_pool_timeout_s
        self._wait_s = settings.replica_wait_s
        self._spill = threading.BoundedSemaphore(settings.db_spill)

    def choose(self, unit: Unit, asked: LookupReply) -> Replica | None:
        """Return the replica to read from; None: the primary.

        Of those that follow the same primary and have replayed what is needed, the one with the least to do, then the
        one that is furthest.
        """
        if not asked.is_trusted or asked.is_unverified:
            return self.choose_any(unit) if asked.is_unverified else None
        lease = self._lease.last()
        if lease is None or not self._serves(unit):
            return None
        return self._first(self._able(lease.primary, asked.position))

    def wait_for(self, unit: Unit, position: Position) -> Replica | None:
        """Return a replica that has what was committed at a position, waiting for one; None: the primary.

        For jobs, which need no stamps: what they are told to read is at that position. They wait as long as
        ``REPLICA_WAIT_S`` says, but not for a replica of another primary, whose positions mean something else.
        """
        until = time.monotonic() + self._wait_s
        while self._serves(unit):
            lease = self._lease.granted()  # the first question starts the watch
            if lease is not None and lease.primary != position.primary:
                return None
            replica = self._first(self._able(position.primary, comparable(position.lsn)))
            if replica is not None or time.monotonic() >= until:
                return replica
            time.sleep(ASKED_AGAIN_S)
        return None

    def choose_any(self, unit: Unit) -> Replica | None:
        """Return the replica that is furthest, for when the primary cannot be reached."""
        if not self._serves(unit):
            return None
        seen = [(replica, self._lease.replayed(replica.number)) for replica in self._replicas]
        return self._first([(0, -known.position, replica.number) for replica, known in seen if known is not None])

    @contextmanager
    def spilled(self, unit: Unit) -> Iterator[None]:
        """Let a read to the primary, of which so many may be there at once that writes still find room.

        :raises SpillFull: there are, and none has ended in time.
        """
        if not self._serves(unit):
            yield
            return
        if not self._spill.acquire(timeout=self._patience_s):
            raise SpillFull
        try:
            yield
        finally:
            self._spill.release()

    def _able(self, primary: str, position: str) -> list[tuple[int, int, int]]:
        """Return the replicas that follow a primary and have replayed a comparable position, the best one least."""
        needed, able = int(position or "0", 16), []
        for replica in self._replicas:
            seen = self._lease.replayed(replica.number)
            if seen is not None and seen.primary == primary and seen.position >= needed:
                able.append((replica.at_work, -seen.position, replica.number))
        return able

    def _serves(self, unit: Unit) -> bool:
        """Tell whether replicas may answer a unit: reads in an organization, under the application's own role."""
        return bool(self._replicas) and unit.organization_id is not None and unit.engine is self._engines[None]

    def _first(self, able: list[tuple[int, int, int]]) -> Replica | None:
        for *_, number in sorted(able):
            if self._replicas[number].breaker.allows():
                return self._replicas[number]
        return None


def may_ask_primary(error: DBAPIError) -> bool:
    """Tell whether the primary may be asked what a replica has failed to answer."""
    return is_gone(error) or getattr(error.orig, "sqlstate", None) in _CONFLICT
