"""One run: callers, one fault repeatedly, and a comparison with the database at the end."""

import functools
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.freshness import faults
from bench.freshness.callers import Pace, Reader, Scene, Writer, read_until
from bench.freshness.client import NoResponse, RecordingClient, Server
from bench.freshness.faults import Fault
from bench.freshness.ledger import Ledger
from bench.freshness.measurements import Measurements, Metrics
from bench.freshness.rows import Row
from bench.freshness.shapes import Shape
from bench.freshness.site import Site
from bench.freshness.world import Maker, World

SETTLED_S = 4.0
WRITES_A_TURN = 1.4
AHEAD = 1.25
# How often organizations are written and read, relative to each other. Where writes are rare, responses stay cached for
# long, and no second write soon repairs an error of the first.
WEIGHTS = ((30, 4), (9, 3), (1, 3))


@dataclass(frozen=True)
class Plan:
    """How long a run is and how many callers take part; it ends when time, writes and rounds have been reached.

    :param hold_s: how long each fault lasts, instead of its default.
    :param quiet_s: the same for the time before it.
    :param is_thorough: at the end everything is read through every entry point; else through one each.
    """

    fault: Fault
    seconds: float
    writes: int
    rounds: int = 2
    a_second: float = 45.0
    writers: int = 6
    readers: int = 6
    hold_s: float | None = None
    quiet_s: float | None = None
    is_thorough: bool = True


@dataclass
class Found:
    """The findings of a run."""

    ledger: Ledger
    measurements: Measurements
    fault: str
    rounds: int = 0
    seconds: float = 0.0
    rows: int = 0


def make_worlds(site: Site, ledger: Ledger, *, organizations: int = 3, rows: int = 12) -> list[World]:
    """Create the organizations of one or more runs, with the given number of rows of each kind."""
    site.wait_until_healthy()
    client = RecordingClient(Measurements(), ledger, site.primary)
    made = []
    for number, organization in enumerate(site.create_users(organizations)):
        maker = Maker(client, site.servers[0], organization)
        made.append(maker.make(rows=rows, weights=WEIGHTS[number % len(WEIGHTS)]))
    client.close()
    return made


class Run:
    """One run on a started site, on rows whose slots are in the ledger."""

    def __init__(self, site: Site, ledger: Ledger, worlds: Sequence[World], plan: Plan) -> None:
        self.site, self.ledger, self.plan = site, ledger, plan
        ledger.begin(excuses=plan.fault.cuts)
        self.measurements = Measurements()
        self._rows = [(world, row) for world in worlds for row in world.rows]
        self.found = Found(ledger, self.measurements, plan.fault.name, rows=len(self._rows))
        self._scene = Scene(worlds, site.servers, self.measurements, ledger, self._new_client, site.truth)
        self._metrics = Metrics()
        self._ended = threading.Event()
        self._failures: list[BaseException] = []

    def run(self) -> Found:
        """Run all callers under the fault, and compare with the database."""
        self.site.wait_until_healthy()
        self._gather(count=False)
        started = time.monotonic()
        threads = self._callers()
        try:
            self._rounds(started)
        finally:
            self.found.seconds = time.monotonic() - started
            self._ended.set()
            for thread in threads:
                thread.join()
        if self._failures:
            raise self._failures[0]
        self._compare()
        return self.found

    def _new_client(self) -> RecordingClient:
        return RecordingClient(self.measurements, self.ledger, self.site.primary)

    def _callers(self) -> list[threading.Thread]:
        plan, scene = self.plan, self._scene
        pace = Pace(plan.a_second / WRITES_A_TURN * AHEAD, self._ended)
        writers = [Writer(scene, f"w{i}", self._rows[i :: plan.writers]) for i in range(plan.writers)]
        jobs = [functools.partial(writer.run, pace) for writer in writers]
        jobs += [functools.partial(read_until, self._ended, scene, f"r{i}") for i in range(plan.readers)]
        threads = [threading.Thread(target=self._guarded, args=(job,), daemon=True) for job in jobs]
        for thread in threads:
            thread.start()
        return threads

    def _guarded(self, job: Callable[[], None]) -> None:
        try:
            job()
        except BaseException as error:  # noqa: BLE001 - it ends the run, and ``run`` raises it
            self._failures.append(error)
            self._ended.set()

    def _rounds(self, started: float) -> None:
        plan, fault = self.plan, self.plan.fault
        while not self._is_done(started):
            number = self.found.rounds
            self._be_quiet(fault.quiet_s if plan.quiet_s is None else plan.quiet_s, is_first=not number)
            self._phase("fault" if fault.name != "none" else "quiet")
            hold = fault.holds[number // 2 % len(fault.holds)] if plan.hold_s is None else plan.hold_s
            with faults.late(self.site, fault), fault.during(self.site, number):
                self._ended.wait(hold)
            self.found.rounds += 1
        self._phase("quiet")

    def _be_quiet(self, seconds: float, *, is_first: bool) -> None:
        """Let all callers work undisturbed; the first part of a long time after a fault is counted separately."""
        after = 0.0 if is_first else max(0.0, seconds - SETTLED_S)
        if after:
            self._phase("after")
            self._ended.wait(after)
        self._phase("quiet")
        self._ended.wait(seconds - after)

    def _is_done(self, started: float) -> bool:
        """Return whether time, writes and rounds have been reached, or something has failed."""
        plan = self.plan
        enough = self.measurements.marks["writes acknowledged"] >= plan.writes and self.found.rounds >= plan.rounds
        return bool(self._failures) or (enough and time.monotonic() - started >= plan.seconds)

    def _phase(self, name: str) -> None:
        self._gather()
        self.measurements.phase = name

    def _gather(self, *, count: bool = True) -> None:
        """Add what the processes have counted to the phase that ends now."""
        for server in self.site.processes:
            if text := self.site.metrics_of(server):
                gained = self._metrics.gain(server.name, text)
                if count:
                    self.measurements.metrics[self.measurements.phase].update(gained)

    def _compare(self) -> None:
        """Compare what was acknowledged with the database, then every entry point with the database."""
        self.site.wait_until_healthy()
        for _, row in self._rows:
            self._compare_with_truth(row)
        client, servers = self._new_client(), self._scene.servers
        reader = Reader(self._scene, client, random.Random("final"))  # noqa: S311 - not for secrets
        shapes = [(world, shape) for world in self._scene.worlds for shape in world.shapes]
        for number, (world, shape) in enumerate(shapes):
            for server in servers if self.plan.is_thorough else [servers[number % len(servers)]]:
                self._check(reader, world, shape, server)
        client.close()

    def _compare_with_truth(self, row: Row) -> None:
        version, count = self.site.truth(row) or (0, 0)
        for slot, level in ((row.version_slot, version), (row.count_slot, count)):
            if level < self.ledger.acknowledged(slot):
                acknowledged = f"{self.ledger.names[slot]} was acknowledged at {self.ledger.acknowledged(slot)}"
                self.ledger.add_violation("lost", f"{acknowledged}, the database has {level}")
        if not row.is_doubtful and (version, count) != (row.version, row.count):
            self.ledger.add_violation("not as acknowledged", f"{row}: the database has {version}, {count}")
        # Nothing is written any more: every reader must see this.
        row.acknowledge(version, count)

    def _check(self, reader: Reader, world: World, shape: Shape, server: Server) -> None:
        try:
            there = reader.read(world, shape, server)
        except NoResponse:
            there = False
        if not there:
            self.ledger.add_violation("not readable after the run", f"{shape.path} through {server.name}")
