"""The faults: each ends after a while, and leaves the stack intact."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import redis

from bench.freshness.site import Site

DELAY_MS = 700
DUMP = "dump.rdb"


@dataclass(frozen=True)
class Fault:
    """A failure that is repeated, each time for a while.

    :param during: the fault of a round, as a context manager in which it lasts.
    :param holds: how long it lasts, round by round, in seconds.
    :param quiet_s: how long everything works before it begins.
    :param cuts: one process is cut off from Redis while others are not.
    :param late: the replica lags meanwhile, so that a response from it without stamps would be detected.
    """

    name: str
    during: Callable[[Site, int], AbstractContextManager[None]]
    holds: tuple[float, ...]
    quiet_s: float = 5.0
    cuts: bool = False
    late: bool = False


@contextmanager
def _nothing(_site: Site, _number: int) -> Iterator[None]:
    yield


@contextmanager
def _replay_paused(site: Site, _number: int) -> Iterator[None]:
    site.stack.pause_replay()
    try:
        yield
    finally:
        site.stack.resume_replay()


@contextmanager
def late(site: Site, fault: Fault) -> Iterator[None]:
    """Let the replica lag during a fault that requires it."""
    with _replay_late(site, 0) if fault.late else nullcontext():
        yield


@contextmanager
def _replay_late(site: Site, _number: int) -> Iterator[None]:
    _set_delay(site, f"{DELAY_MS}ms")
    try:
        yield
    finally:
        _set_delay(site, "0")


def _set_delay(site: Site, delay: str) -> None:
    replica = site.stack.replica
    if replica is not None:
        replica.query(f"ALTER SYSTEM SET recovery_min_apply_delay = '{delay}'")
        replica.query("SELECT pg_reload_conf()")


@contextmanager
def _api_killed(site: Site, number: int) -> Iterator[None]:
    """Kill a process with its master, or in every other round only its worker, which the master replaces."""
    index = number % len(site.processes)
    api, outages = site.api(index), (site.processes[index].outage, site.servers[-1].outage)
    for outage in outages:
        outage.begin()
    master = api.process()
    if number % 2 and master is not None:
        _kill_workers(master)
        api.wait_until_ready(master.pid)
    else:
        api.kill()
        api.start()
    # nginx may have learned of the death just now, through a persistent connection.
    for outage in outages:
        outage.end()
    yield


def _kill_workers(master: psutil.Process) -> None:
    workers = master.children()
    for worker in workers:
        worker.kill()
    psutil.wait_procs(workers, timeout=10)  # a worker that still runs could pass the readiness check


@contextmanager
def _redis_emptied(site: Site, _number: int) -> Iterator[None]:
    with closing(_client(site)) as client:
        client.flushall()
    yield


@contextmanager
def _redis_restarted(site: Site, number: int) -> Iterator[None]:
    """Restart Redis, in turns by a crash and in order."""
    if number % 2:
        site.stack.kill("redis-cache")
    else:
        site.stack.cache.stop()
    site.stack.cache.start()
    yield


@contextmanager
def _redis_stopped(site: Site, number: int) -> Iterator[None]:
    if number % 2:
        site.stack.kill("redis-cache")
    else:
        site.stack.cache.stop()
    try:
        yield
    finally:
        site.stack.cache.start()


class _Copies:
    """Copies of Redis from earlier in the run: the first one, and the one of the round before."""

    def __init__(self) -> None:
        self._dumps: list[bytes] = []

    @contextmanager
    def restore(self, site: Site, number: int) -> Iterator[None]:
        """Stop Redis, and start it with an earlier copy; each round takes its copy after the previous fault."""
        dump = site.stack.cache.folder / DUMP
        if not number:
            self._dumps = []
        self._save_dump(site, dump)
        time.sleep(random.uniform(0.2, 1.0))  # noqa: S311 - so that the copy is older than the last writes
        site.stack.kill("redis-cache")
        dump.write_bytes(self._dumps[0] if number % 2 else self._dumps[-1])
        site.stack.workspace.account.chown(dump)
        site.stack.cache.start()
        dump.unlink(missing_ok=True)
        yield

    def _save_dump(self, site: Site, dump: Path) -> None:
        with closing(_client(site)) as client:
            client.save()
        self._dumps = [*self._dumps[:1], dump.read_bytes()]


@contextmanager
def _redis_frozen(site: Site, _number: int) -> Iterator[None]:
    process = site.stack.cache.process()
    if process is None:
        raise RuntimeError("Redis does not run")
    process.suspend()
    try:
        yield
    finally:
        process.resume()


def _cut(word: str) -> Callable[[Site, int], AbstractContextManager[None]]:
    @contextmanager
    def during(site: Site, number: int) -> Iterator[None]:
        index = number % len(site.processes)
        site.cut(index, word)
        try:
            yield
        finally:
            site.cut(index, "open")

    return during


@contextmanager
def _replica_killed(site: Site, _number: int) -> Iterator[None]:
    site.stack.kill("replica")
    try:
        yield
    finally:
        site.stack.part("replica").start()


@contextmanager
def _primary_killed(site: Site, _number: int) -> Iterator[None]:
    site.primary.begin()
    site.stack.kill("primary")
    try:
        yield
    finally:
        site.stack.primary.start()
        site.wait_until_healthy()
        site.primary.end()


def _client(site: Site) -> Any:
    return redis.Redis.from_url(site.stack.cache.url)


# After a fault that gives Redis a new identity, the quiet time exceeds the quarantine, so that its end is checked, too.
BEYOND_QUARANTINE_S = 15.0

FAULTS = {
    fault.name: fault
    for fault in (
        Fault("none", _nothing, (5.0,)),
        Fault("replica-paused", _replay_paused, (1.0, 4.0)),
        Fault("replica-delayed", _replay_late, (8.0,)),
        Fault("api-killed", _api_killed, (0.5,), quiet_s=3.0, late=True),
        Fault("redis-emptied", _redis_emptied, (1.0, 12.0), quiet_s=4.0, late=True),
        Fault("redis-restarted", _redis_restarted, (1.0, 12.0), quiet_s=4.0, late=True),
        Fault("redis-stopped", _redis_stopped, (3.0, 12.0), quiet_s=BEYOND_QUARANTINE_S),
        Fault("redis-restored", _Copies().restore, (1.0, 12.0), quiet_s=4.0, late=True),
        Fault("redis-frozen", _redis_frozen, (1.0, 4.0, 12.0), quiet_s=8.0),
        Fault("redis-cut", _cut("close"), (0.4, 3.0, 12.0), cuts=True, late=True),
        Fault("redis-held", _cut("hold"), (0.4, 3.0, 12.0), cuts=True, late=True),
        Fault("replica-killed", _replica_killed, (3.0,)),
        Fault("primary-killed", _primary_killed, (4.0,), quiet_s=8.0),
    )
}
