"""What was acknowledged and what was shown, and the verdict on each read.

A *slot* is one value that only rises: the version of a row, or the counter in its text. Before a read is sent, it takes
the floors of all slots that it must show; a response that shows less is outdated. All times come from one monotonic
clock, and floors are taken and raised in the order of these calls, so a verdict is never a matter of luck: a floor is
raised only after an acknowledgement or a response has been read completely.
"""

import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

EXCUSED_S = 0.5
MOST_EXAMPLES = 20


@dataclass(frozen=True)
class Floor:
    """What a read that starts now must show of a slot."""

    acknowledged: int
    seen: int
    seen_at: float


@dataclass
class Reading:
    """One read: what it must show, taken before it was sent."""

    what: str
    slots: Sequence[int]
    floors: Sequence[Floor]
    started: float


@dataclass
class Ledger:
    """All slots of a run, and the verdicts so far; bounded by the number of slots.

    :param excuses: one process may be cut off from Redis: a change that is not yet acknowledged may disappear again for
        half a second.
    """

    excuses: bool = False
    names: list[str] = field(default_factory=list)
    verdicts: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    _acknowledged: list[int] = field(default_factory=list)
    _seen: list[tuple[int, float]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, *, excuses: bool) -> None:
        """Begin a run: verdicts start empty, levels remain."""
        self.excuses = excuses
        self.verdicts, self.examples = Counter(), []

    def slot(self, name: str, level: int = 0) -> int:
        """Open a slot whose level has been acknowledged."""
        self.names.append(name)
        self._acknowledged.append(level)
        self._seen.append((level, time.monotonic()))
        return len(self.names) - 1

    def acknowledge(self, slot: int, level: int) -> None:
        """Record the level of a write whose response has been read completely."""
        with self._lock:
            self._acknowledged[slot] = max(self._acknowledged[slot], level)

    def acknowledged(self, slot: int) -> int:
        """Return the highest acknowledged level."""
        return self._acknowledged[slot]

    def reading(self, what: str, slots: Sequence[int]) -> Reading:
        """Take the floors of a read that is about to be sent."""
        floors = [Floor(self._acknowledged[slot], *self._seen[slot]) for slot in slots]
        return Reading(what, slots, floors, time.monotonic())

    def judge(self, reading: Reading, levels: Mapping[int, int], *, unverified: bool = False) -> str:
        """Compare what a read has shown with its floors, raise the floors, and return the verdict.

        :param unverified: the response was marked so, and the primary was unavailable.
        """
        ended = time.monotonic()
        worst = "true"
        for slot, floor in zip(reading.slots, reading.floors, strict=True):
            level = levels.get(slot, 0)
            verdict = self._verdict(floor, level, reading.started, unverified=unverified)
            if verdict in {"stale", "back"} or worst == "true":
                worst = verdict
            if verdict in {"stale", "back"}:
                self.add_example(f"{verdict}: {reading.what} showed {self.names[slot]} at {level}, {floor}")
                break
        with self._lock:
            self.verdicts[worst] += 1
            for slot, level in levels.items():
                if level > self._seen[slot][0]:
                    self._seen[slot] = (level, ended)
        return worst

    def add_violation(self, verdict: str, what: str) -> None:
        """Count a broken guarantee of another kind."""
        with self._lock:
            self.verdicts[verdict] += 1
        self.add_example(f"{verdict}: {what}")

    def add_example(self, example: str) -> None:
        """Store an example for the report, up to a limit."""
        if len(self.examples) < MOST_EXAMPLES:
            self.examples.append(f"{time.strftime('%H:%M:%S')} {example}")

    def _verdict(self, floor: Floor, level: int, started: float, *, unverified: bool) -> str:
        if level >= max(floor.acknowledged, floor.seen):
            return "true"
        if unverified:
            return "older, marked unverified"
        if level < floor.acknowledged:
            return "stale"
        # Shown before and not acknowledged when this read began.
        if self.excuses and started <= floor.seen_at + EXCUSED_S:
            return "back, excused"
        return "back"
