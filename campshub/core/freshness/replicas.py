"""Choose the server of a read: a replica that has replayed what is needed, else the primary.

Reads that no replica can serve *spill* to the primary. Their number is limited, so that connections remain for writes.
"""

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
RECHECK_S = 0.05  # half the interval of the watch
# A replica cancels a query that blocks the replay of WAL; the primary has no such conflict.
_CONFLICT = frozenset({"40001", "57014", "57P01"})


class SpillFull(Exception):
    """The maximum number of spilled reads is running on the primary, and none has ended in time."""


class Replica:
    """One replica: the number of running reads, and its circuit breaker."""

    def __init__(self, number: int, engines: Engines) -> None:
        self.number = number
        self._engines = engines
        self.reads = 0
        name = f"{REPLICA}{number}"
        self.breaker = CircuitBreaker(PAUSE_S, name=name, changed=metrics.breaker_open.labels(name).set)

    @contextmanager
    def reading(self, unit: Unit, position: str) -> Iterator[Unit]:
        """Yield the unit for this replica; the SQL that sets the tenant checks again that it has replayed the position.

        :raises DBAPIError: it has failed; ``may_run_on_primary`` decides whether to read from the primary instead.
        """
        self.reads += 1
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
            self.breaker.succeeded()  # it is available, only too far behind
            raise
        else:
            self.breaker.succeeded()
        finally:
            self.reads -= 1


class Replicas:
    """The replicas of an installation, as one process sees them."""

    def __init__(self, settings: Settings, lease: Lease, engines: Engines) -> None:
        self._lease = lease
        self._engines = engines
        self._replicas = [Replica(number, engines) for number, _ in enumerate(settings.replicas)]
        self._patience_s = settings.db_pool_timeout_s
        self._wait_s = settings.replica_wait_s
        self._spill = threading.BoundedSemaphore(settings.db_spill)

    def choose(self, unit: Unit, reply: LookupReply) -> Replica | None:
        """Return the replica to read from; None: the primary.

        Of the replicas that follow the same primary and have replayed what is needed, choose the one with the fewest
        running reads, then the one that has replayed most.
        """
        if not reply.is_trusted or reply.is_unverified:
            return self.choose_any(unit) if reply.is_unverified else None
        # Even if it has expired meanwhile: only the primary's identity is needed, and the reply is trusted.
        lease = self._lease.last()
        if lease is None or not self._may_use_replicas(unit):
            return None
        return self._first_allowed(self._candidates(lease.primary, reply.position))

    def wait_for(self, unit: Unit, position: Position) -> Replica | None:
        """Return a replica that has replayed a position, waiting for one if needed; None: the primary.

        For jobs, which need no stamps: the data that they read was committed at this position. They wait at most
        ``REPLICA_WAIT_S``, but not for a replica of another primary, because its positions are not comparable.
        """
        until = time.monotonic() + self._wait_s
        while self._may_use_replicas(unit):
            lease = self._lease.granted()  # the first call starts the watch
            if lease is not None and lease.primary != position.primary:
                return None
            replica = self._first_allowed(self._candidates(position.primary, comparable(position.lsn)))
            if replica is not None or time.monotonic() >= until:
                return replica
            time.sleep(RECHECK_S)
        return None

    def choose_any(self, unit: Unit) -> Replica | None:
        """Return the replica that has replayed most, for when the primary is unavailable."""
        if not self._may_use_replicas(unit):
            return None
        seen = [(replica, self._lease.replayed(replica.number)) for replica in self._replicas]
        return self._first_allowed(
            [(0, -known.position, replica.number) for replica, known in seen if known is not None]
        )

    @contextmanager
    def spilled(self, unit: Unit) -> Iterator[None]:
        """Allow one read to spill to the primary; wait if the limit is reached.

        :raises SpillFull: the limit is reached, and no read has ended in time.
        """
        if not self._may_use_replicas(unit):
            yield
            return
        if not self._spill.acquire(timeout=self._patience_s):
            raise SpillFull
        try:
            yield
        finally:
            self._spill.release()

    def _candidates(self, primary: str, position: str) -> list[tuple[int, int, int]]:
        """Return the replicas that follow the primary and have replayed a position, as sort keys: the least is best."""
        needed, candidates = int(position or "0", 16), []
        for replica in self._replicas:
            seen = self._lease.replayed(replica.number)
            if seen is not None and seen.primary == primary and seen.position >= needed:
                candidates.append((replica.reads, -seen.position, replica.number))
        return candidates

    def _may_use_replicas(self, unit: Unit) -> bool:
        """Return whether a replica may serve the unit: one in an organization, under the application's own role."""
        return bool(self._replicas) and unit.organization_id is not None and unit.engine is self._engines[None]

    def _first_allowed(self, candidates: list[tuple[int, int, int]]) -> Replica | None:
        for *_, number in sorted(candidates):
            if self._replicas[number].breaker.allows():
                return self._replicas[number]
        return None


def may_run_on_primary(error: DBAPIError) -> bool:
    """Return whether the primary may run a read that has failed on a replica."""
    return is_gone(error) or getattr(error.orig, "sqlstate", None) in _CONFLICT
