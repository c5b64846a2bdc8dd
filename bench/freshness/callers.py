"""Writers and readers: threads that call the API through every entry point until they are stopped."""

import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus

from bench.freshness.client import NoResponse, RecordingClient, Response, Server
from bench.freshness.ledger import Ledger
from bench.freshness.measurements import Measurements
from bench.freshness.rows import Change, Row
from bench.freshness.shapes import Shape
from bench.freshness.world import WEIGHTS, World

CONDITIONAL = 0.4
CHECK_AFTER_WRITE = 0.5
CHECKS = 2
PAIRS = 0.5
REST_AFTER_ERROR_S = 0.1
READER_REST_S = 0.004
POPULAR_SHARE, POPULAR_SHAPES, POPULAR_FOR_S = 0.8, 4, 5.0
UNVERIFIED = "unverified"
# Codes that a writer in doubt may get: its unconfirmed change was carried out.
ALREADY = {HTTPStatus.CONFLICT, HTTPStatus.PRECONDITION_FAILED}


@dataclass
class Scene:
    """What all callers of a run share."""

    worlds: Sequence[World]
    servers: Sequence[Server]
    measurements: Measurements
    ledger: Ledger
    new_client: Callable[[], RecordingClient]
    truth: Callable[[Row], tuple[int, int] | None]

    def to_write(self, rng: random.Random) -> World:
        """Return an organization to write to; some are busier than others."""
        return rng.choices(self.worlds, [world.weights[0] for world in self.worlds])[0]

    def to_read(self, rng: random.Random) -> World:
        """Return an organization to read from."""
        return rng.choices(self.worlds, [world.weights[1] for world in self.worlds])[0]

    def shape_of(self, world: World, rng: random.Random) -> Shape:
        """Return something to read: often one of a few that all readers request now, so that it is cached."""
        if rng.random() > POPULAR_SHARE:
            return rng.choice(world.shapes)
        moment = random.Random(int(time.monotonic() / POPULAR_FOR_S))  # noqa: S311 - not for secrets
        return rng.choice(moment.sample(world.shapes, POPULAR_SHAPES))


class Reader:
    """One caller's view: what it was shown last, and under which ETag."""

    def __init__(self, scene: Scene, client: RecordingClient, rng: random.Random) -> None:
        self._scene, self._client, self._rng = scene, client, rng
        self._had: dict[tuple[str, int], tuple[str, dict[int, int]]] = {}

    def read(self, world: World, shape: Shape, server: Server) -> bool:
        """Read once, sometimes conditionally, and judge the response; return whether it was a success.

        :raises NoResponse: there was none.
        """
        ledger, token = self._scene.ledger, world.token_for(shape, self._rng)
        had = self._had.get((token, id(shape))) if self._rng.random() < CONDITIONAL else None
        reading = ledger.reading(f"{shape.path} through {server.name}", shape.slots)
        headers = {"If_None_Match": had[0]} if had else {}
        response = self._client.send(server, "GET", shape.path, token, **headers)
        if response.status == HTTPStatus.NOT_MODIFIED and had:
            levels = had[1]
        elif response.status == HTTPStatus.OK:
            levels = dict(shape.find(response.json))
            if tag := response.headers.get("ETag"):
                self._had[token, id(shape)] = tag, levels
        elif response.status == HTTPStatus.NOT_FOUND:
            levels = {}  # every row was there before the run began
        else:
            self._client.is_allowed(response)
            return False
        ledger.judge(reading, levels, unverified=self._is_unverified(response))
        return True

    def _is_unverified(self, response: Response) -> bool:
        if response.headers.get("Campshub-Freshness") != UNVERIFIED:
            return False
        is_excused = self._client.primary.overlaps(response.started)
        self._scene.measurements.mark(f"reads marked unverified, primary {'' if is_excused else 'not '}stopped")
        return is_excused


class Writer:
    """Changes its own rows, and checks immediately whether all readers see the change."""

    def __init__(self, scene: Scene, seed: str, rows: Sequence[tuple[World, Row]]) -> None:
        self._scene = scene
        self._rng = random.Random(seed)  # noqa: S311 - not for secrets
        self._client, self._companion = scene.new_client(), scene.new_client()
        self._reader = Reader(scene, self._client, self._rng)
        self._rows: dict[tuple[int, str], list[Row]] = {}
        for world, row in rows:
            self._rows.setdefault((id(world), row.kind), []).append(row)

    def run(self, pace: "Pace") -> None:
        """Write at the run's pace until the run ends."""
        with ThreadPoolExecutor(1) as pool:
            while pace.wait():
                self._turn(pool)
        self._client.close()
        self._companion.close()

    def _turn(self, pool: ThreadPoolExecutor) -> None:
        """Change one row, or two of the same organization and tag at once, and check one of them."""
        world = self._scene.to_write(self._rng)
        rows = list(self._own(world))
        self._rng.shuffle(rows)
        servers = self._rng.sample(self._scene.servers, 2)
        second = None
        if len(rows) > 1 and self._rng.random() < PAIRS:
            second = pool.submit(self._write, self._companion, world, rows[1], servers[1])
        done = self._write(self._client, world, rows[0], servers[0])
        if second is not None:
            done = second.result() and done
        if not done:
            time.sleep(REST_AFTER_ERROR_S)
        elif self._rng.random() < CHECK_AFTER_WRITE:
            self._check(world, rows[0])

    def _own(self, world: World) -> Sequence[Row]:
        kinds = [kind for kind in WEIGHTS if (id(world), kind) in self._rows]
        kind = self._rng.choices(kinds, [WEIGHTS[kind] for kind in kinds])[0]
        return self._rows[id(world), kind]

    def _check(self, world: World, row: Row) -> None:
        for server in self._rng.sample(self._scene.servers, CHECKS):
            try:
                self._reader.read(world, self._rng.choice(world.shown_by[row.version_slot]), server)
            except NoResponse:
                continue

    def _write(self, client: RecordingClient, world: World, row: Row, server: Server) -> bool:
        """Send a row's next change; return whether it was acknowledged."""
        if row.in_doubt and not self._settle(row):
            return False
        change = row.change()
        headers = {"If_Match": f'"{row.version}-0"'} if change.conditional else {}
        try:
            response = client.send(
                server, change.method, change.path, world.tokens["admin"], dict(change.body), **headers
            )
        except NoResponse:
            row.in_doubt = row.is_doubtful = True
            self._scene.measurements.mark("writes in doubt")
            return False
        if response.status in {HTTPStatus.OK, HTTPStatus.CREATED}:
            return self._acknowledge(row, change, response)
        if response.status in ALREADY and row.is_doubtful:
            self._scene.measurements.mark("writes in doubt that came late")
        else:
            client.is_allowed(response)
        row.in_doubt = row.is_doubtful = True
        return False

    def _acknowledge(self, row: Row, change: Change, response: Response) -> bool:
        version = row.version_after(response.json)
        if version <= row.version:
            if not row.is_doubtful:
                self._scene.ledger.add_violation("write without effect", f"{change.path}: {response.body[:300]!r}")
            row.in_doubt = row.is_doubtful = True
            return False
        row.acknowledge(version, change.count)
        self._scene.measurements.mark("writes acknowledged")
        return True

    def _settle(self, row: Row) -> bool:
        """Query the primary for the outcome of a write that got no response."""
        found = self._scene.truth(row)
        if found is None:
            return False
        row.version, row.count, row.in_doubt = *found, False
        return True


def read_until(ended: threading.Event, scene: Scene, seed: str) -> None:
    """Read continuously, through all entry points, as every role, every shape."""
    rng, client = random.Random(seed), scene.new_client()  # noqa: S311 - not for secrets
    reader = Reader(scene, client, rng)
    while not ended.wait(READER_REST_S):
        world = scene.to_read(rng)
        try:
            there = reader.read(world, scene.shape_of(world, rng), rng.choice(scene.servers))
        except NoResponse:
            there = False
        if not there:
            time.sleep(REST_AFTER_ERROR_S)
    client.close()


class Pace:
    """The moments at which writers begin, so that readers get their share of the machine."""

    def __init__(self, a_second: float, ended: threading.Event) -> None:
        self._step, self._ended = 1 / a_second, ended
        self._next = time.monotonic()
        self._lock = threading.Lock()

    def wait(self) -> bool:
        """Wait for the next moment; False when the run has ended."""
        with self._lock:
            # A late writer catches up a little, not a whole fault.
            self._next = max(self._next + self._step, time.monotonic() - 1)
            mine = self._next
        return not self._ended.wait(max(0.0, mine - time.monotonic()))
