"""One run: callers at work, one fault again and again, and the truth at the end."""

import functools
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bench.freshness.asking import Address, Asker, Unanswered
from bench.freshness.callers import Pace, Reader, Scene, Writer, go_on_reading
from bench.freshness.faults import Fault
from bench.freshness.figures import Figures, Metrics
from bench.freshness.ledger import Ledger
from bench.freshness.rows import Row
from bench.freshness.shapes import Shape
from bench.freshness.site import Site
from bench.freshness.world import Maker, World

SETTLED_S = 4.0
WRITES_A_TURN = 1.4
AHEAD = 1.25
# Some organizations are written all the time, others seldom: their answers are kept for longer.
WEIGHTS = (6, 3, 1)


@dataclass(frozen=True)
class Plan:
    """How long a run is and how many take part; it ends when time, writes and rounds have been reached.

    :param hold_s: how long each fault lasts, instead of what it says itself.
    :param quiet_s: the same for the time before it.
    """

    fault: Fault
    seconds: float
    writes: int
    rounds: int = 2
    a_second: float = 45.0
    writers: int = 6
    readers: int = 6
    organizations: int = 3
    hold_s: float | None = None
    quiet_s: float | None = None


@dataclass
class Found:
    """What a run has found."""

    ledger: Ledger
    figures: Figures
    fault: str
    rounds: int = 0
    seconds: float = 0.0
    rows: int = 0
    slots: int = field(default=0)


class Run:
    """One run on a site that has been started."""

    def __init__(self, site: Site, plan: Plan) -> None:
        self.site, self.plan = site, plan
        self.ledger, self.figures = Ledger(excuses=plan.fault.cuts), Figures()
        self.found = Found(self.ledger, self.figures, plan.fault.name)
        self._metrics = Metrics()
        self._over = threading.Event()
        self._failures: list[BaseException] = []

    def go(self) -> Found:
        """Make the rows, let everybody work under the fault, and compare with the truth."""
        worlds = self._worlds()
        self.site.wait_until_whole()
        scene = Scene(worlds, self.site.addresses, self.figures, self.ledger, self._asker, self.site.truth)
        rows = [(world, row) for world in worlds for row in world.rows]
        self.found.rows, self.found.slots = len(rows), len(self.ledger.names)
        self._gather(count=False)
        started = time.monotonic()
        threads = self._callers(scene, rows)
        try:
            self._rounds(started)
        finally:
            self.found.seconds = time.monotonic() - started
            self._over.set()
            for thread in threads:
                thread.join()
        if self._failures:
            raise self._failures[0]
        self._compare(scene, [row for _, row in rows])
        return self.found

    def _worlds(self) -> list[World]:
        asker, plan = self._asker(), self.plan
        asker.figures = Figures()  # what is made before the run is not counted
        made = []
        for number, organization in enumerate(self.site.people(plan.organizations)):
            maker = Maker(asker, self.site.addresses[0], organization)
            made.append(maker.make(rows=2 * plan.writers, weight=WEIGHTS[number % len(WEIGHTS)]))
        asker.close()
        return made

    def _asker(self) -> Asker:
        return Asker(self.figures, self.ledger, self.site.primary)

    def _callers(self, scene: Scene, rows: Sequence[tuple[World, Row]]) -> list[threading.Thread]:
        plan = self.plan
        pace = Pace(plan.a_second / WRITES_A_TURN * AHEAD, self._over)
        writers = [Writer(scene, f"w{i}", rows[i :: plan.writers]) for i in range(plan.writers)]
        jobs = [functools.partial(writer.run, pace) for writer in writers]
        jobs += [functools.partial(go_on_reading, scene, f"r{i}", self._over) for i in range(plan.readers)]
        threads = [threading.Thread(target=self._guarded, args=(job,), daemon=True) for job in jobs]
        for thread in threads:
            thread.start()
        return threads

    def _guarded(self, job: Callable[[], None]) -> None:
        try:
            job()
        except BaseException as error:  # noqa: BLE001 - it ends the run, and is raised there
            self._failures.append(error)
            self._over.set()

    def _rounds(self, started: float) -> None:
        plan, fault = self.plan, self.plan.fault
        while not self._is_done(started):
            number = self.found.rounds
            self._be_quiet(fault.quiet_s if plan.quiet_s is None else plan.quiet_s, is_first=not number)
            self._phase("fault" if fault.name != "none" else "quiet")
            hold = fault.holds[number // 2 % len(fault.holds)] if plan.hold_s is None else plan.hold_s
            with fault.during(self.site, number):
                self._over.wait(hold)
            self.found.rounds += 1
        self._phase("quiet")

    def _be_quiet(self, seconds: float, *, is_first: bool) -> None:
        """Let everybody work undisturbed; the first part of a long time after a fault is counted by itself."""
        after = 0.0 if is_first else max(0.0, seconds - SETTLED_S)
        if after:
            self._phase("after")
            self._over.wait(after)
        self._phase("quiet")
        self._over.wait(seconds - after)

    def _is_done(self, started: float) -> bool:
        """Tell whether time, writes and rounds have been reached, or something has failed."""
        plan = self.plan
        enough = self.figures.marks["writes acknowledged"] >= plan.writes and self.found.rounds >= plan.rounds
        return bool(self._failures) or (enough and time.monotonic() - started >= plan.seconds)

    def _phase(self, name: str) -> None:
        self._gather()
        self.figures.phase = name

    def _gather(self, *, count: bool = True) -> None:
        """Add what the processes have counted to the phase that ends now."""
        for address in self.site.processes:
            if text := self.site.figures_of(address):
                gained = self._metrics.gain(address.name, text)
                if count:
                    self.figures.metrics[self.figures.phase].update(gained)

    def _compare(self, scene: Scene, rows: Sequence[Row]) -> None:
        """Compare what was acknowledged with the database, then every address with the database."""
        self.site.wait_until_whole()
        for row in rows:
            version, count = self.site.truth(row) or (0, 0)
            for slot, level in ((row.version_slot, version), (row.count_slot, count)):
                if level < self.ledger.acknowledged(slot):
                    name, told = self.ledger.names[slot], self.ledger.acknowledged(slot)
                    self.ledger.accuse("lost", f"{name} was acknowledged at {told}, the database has {level}")
            if not row.is_doubtful and (version, count) != (row.version, row.count):
                self.ledger.accuse("not as told", f"{row}: the database has {version}, {count}")
            # Nothing is written any more: this is what everybody must see.
            row.acknowledge(version, count)
        reader = Reader(scene, self._asker(), random.Random("final"))  # noqa: S311 - dice, not secrets
        for world in scene.worlds:
            for shape in world.shapes:
                for address in scene.addresses:
                    self._look(reader, world, shape, address)

    def _look(self, reader: Reader, world: World, shape: Shape, address: Address) -> None:
        try:
            there = reader.read(world, shape, address)
        except Unanswered:
            there = False
        if not there:
            self.ledger.accuse("not readable after the run", f"{shape.path} through {address.name}")
