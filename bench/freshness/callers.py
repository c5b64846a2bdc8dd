"""Writers and readers: threads that ask the API through every address until they are told to stop."""

import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus

from bench.freshness.asking import Address, Answer, Asker, Unanswered
from bench.freshness.figures import Figures
from bench.freshness.ledger import Ledger
from bench.freshness.rows import Change, Row
from bench.freshness.shapes import Shape
from bench.freshness.world import WEIGHTS, World

CONDITIONAL = 0.4
LOOK_AFTER_WRITE = 0.5
LOOKS = 2
PAIRS = 0.5
REST_AFTER_ERROR_S = 0.1
READER_REST_S = 0.004
FASHION, FASHIONABLE, FASHION_LASTS_S = 0.8, 4, 5.0
UNVERIFIED = "unverified"
# What a writer in doubt may meet: the change that it did not hear of was made.
ALREADY = {HTTPStatus.CONFLICT, HTTPStatus.PRECONDITION_FAILED}


@dataclass
class Scene:
    """What all callers of a run share."""

    worlds: Sequence[World]
    addresses: Sequence[Address]
    figures: Figures
    ledger: Ledger
    asker: Callable[[], Asker]
    truth: Callable[[Row], tuple[int, int] | None]

    def to_write(self, dice: random.Random) -> World:
        """Return one of the organizations; some are busier than others."""
        return dice.choices(self.worlds, [world.weights[0] for world in self.worlds])[0]

    def to_read(self, dice: random.Random) -> World:
        """Return one of the organizations."""
        return dice.choices(self.worlds, [world.weights[1] for world in self.worlds])[0]

    def shape_of(self, world: World, dice: random.Random) -> Shape:
        """Return something to read: often one of the few that all readers ask for at the moment, so that it is kept."""
        if dice.random() > FASHION:
            return dice.choice(world.shapes)
        moment = random.Random(int(time.monotonic() / FASHION_LASTS_S))  # noqa: S311 - dice, not secrets
        return dice.choice(moment.sample(world.shapes, FASHIONABLE))


class Reader:
    """One caller's eyes: what it was shown last, and under which ETag."""

    def __init__(self, scene: Scene, asker: Asker, dice: random.Random) -> None:
        self._scene, self._asker, self._dice = scene, asker, dice
        self._had: dict[tuple[str, int], tuple[str, dict[int, int]]] = {}

    def read(self, world: World, shape: Shape, address: Address) -> bool:
        """Read once, maybe only what has changed, and judge what was shown; tell whether there was an answer.

        :raises Unanswered: there was none.
        """
        ledger, token = self._scene.ledger, world.token_for(shape, self._dice)
        had = self._had.get((token, id(shape))) if self._dice.random() < CONDITIONAL else None
        reading = ledger.reading(f"{shape.path} through {address.name}", shape.slots)
        headers = {"If_None_Match": had[0]} if had else {}
        answer = self._asker.ask(address, "GET", shape.path, token, **headers)
        if answer.status == HTTPStatus.NOT_MODIFIED and had:
            levels = had[1]
        elif answer.status == HTTPStatus.OK:
            levels = dict(shape.find(answer.json))
            if tag := answer.headers.get("ETag"):
                self._had[token, id(shape)] = tag, levels
        elif answer.status == HTTPStatus.NOT_FOUND:
            levels = {}  # every row was there before the run began
        else:
            self._asker.is_passing(answer)
            return False
        ledger.judge(reading, levels, unverified=self._is_unverified(answer))
        return True

    def _is_unverified(self, answer: Answer) -> bool:
        if answer.headers.get("Campshub-Freshness") != UNVERIFIED:
            return False
        away = self._asker.primary.meets(answer.started)
        self._scene.figures.mark(f"reads marked unverified, primary {'away' if away else 'there'}")
        return away


class Writer:
    """Changes rows of its own, and looks at once whether everybody sees the change."""

    def __init__(self, scene: Scene, seed: str, rows: Sequence[tuple[World, Row]]) -> None:
        self._scene = scene
        self._dice = random.Random(seed)  # noqa: S311 - dice, not secrets
        self._asker, self._companion = scene.asker(), scene.asker()
        self._reader = Reader(scene, self._asker, self._dice)
        self._rows: dict[tuple[int, str], list[Row]] = {}
        for world, row in rows:
            self._rows.setdefault((id(world), row.kind), []).append(row)

    def run(self, pace: "Pace") -> None:
        """Write at the run's pace until it is over."""
        with ThreadPoolExecutor(1) as pool:
            while pace.wait():
                self._turn(pool)
        self._asker.close()
        self._companion.close()

    def _turn(self, pool: ThreadPoolExecutor) -> None:
        """Change one row, or two of the same organization and tag at once, and look at one of them."""
        world = self._scene.to_write(self._dice)
        rows = list(self._own(world))
        self._dice.shuffle(rows)
        addresses = self._dice.sample(self._scene.addresses, 2)
        second = None
        if len(rows) > 1 and self._dice.random() < PAIRS:
            second = pool.submit(self._write, self._companion, world, rows[1], addresses[1])
        done = self._write(self._asker, world, rows[0], addresses[0])
        if second is not None:
            done = second.result() and done
        if not done:
            time.sleep(REST_AFTER_ERROR_S)
        elif self._dice.random() < LOOK_AFTER_WRITE:
            self._look(world, rows[0])

    def _own(self, world: World) -> Sequence[Row]:
        kinds = [kind for kind in WEIGHTS if (id(world), kind) in self._rows]
        kind = self._dice.choices(kinds, [WEIGHTS[kind] for kind in kinds])[0]
        return self._rows[id(world), kind]

    def _look(self, world: World, row: Row) -> None:
        for address in self._dice.sample(self._scene.addresses, LOOKS):
            try:
                self._reader.read(world, self._dice.choice(world.shown_by[row.version_slot]), address)
            except Unanswered:
                continue

    def _write(self, asker: Asker, world: World, row: Row, address: Address) -> bool:
        """Send a row's next change; tell whether it was acknowledged."""
        if row.in_doubt and not self._settle(row):
            return False
        change = row.change()
        headers = {"If_Match": f'"{row.version}-0"'} if change.conditional else {}
        try:
            answer = asker.ask(address, change.method, change.path, world.tokens["admin"], dict(change.body), **headers)
        except Unanswered:
            row.in_doubt = row.is_doubtful = True
            self._scene.figures.mark("writes in doubt")
            return False
        if answer.status in {HTTPStatus.OK, HTTPStatus.CREATED}:
            return self._acknowledge(row, change, answer)
        if answer.status in ALREADY and row.is_doubtful:
            self._scene.figures.mark("writes in doubt that came late")
        else:
            asker.is_passing(answer)
        row.in_doubt = row.is_doubtful = True
        return False

    def _acknowledge(self, row: Row, change: Change, answer: Answer) -> bool:
        version = row.version_after(answer.json)
        if version <= row.version:
            if not row.is_doubtful:
                self._scene.ledger.accuse("write without effect", f"{change.path}: {answer.body[:300]!r}")
            row.in_doubt = row.is_doubtful = True
            return False
        row.acknowledge(version, change.count)
        self._scene.figures.mark("writes acknowledged")
        return True

    def _settle(self, row: Row) -> bool:
        """Ask the primary itself what became of a write that nobody answered."""
        found = self._scene.truth(row)
        if found is None:
            return False
        row.version, row.count, row.in_doubt = *found, False
        return True


def go_on_reading(scene: Scene, seed: str, over: threading.Event) -> None:
    """Read without end, through all addresses, as everybody, whatever may be asked."""
    dice, asker = random.Random(seed), scene.asker()  # noqa: S311 - dice, not secrets
    reader = Reader(scene, asker, dice)
    while not over.wait(READER_REST_S):
        world = scene.to_read(dice)
        try:
            there = reader.read(world, scene.shape_of(world, dice), dice.choice(scene.addresses))
        except Unanswered:
            there = False
        if not there:
            time.sleep(REST_AFTER_ERROR_S)
    asker.close()


class Pace:
    """The moments at which writers begin, so that the readers get their share of the machine."""

    def __init__(self, a_second: float, over: threading.Event) -> None:
        self._step, self._over = 1 / a_second, over
        self._next = time.monotonic()
        self._lock = threading.Lock()

    def wait(self) -> bool:
        """Wait for the next moment; False when the run is over."""
        with self._lock:
            # Whoever is late catches up a little, not a whole fault.
            self._next = max(self._next + self._step, time.monotonic() - 1)
            mine = self._next
        return not self._over.wait(max(0.0, mine - time.monotonic()))
