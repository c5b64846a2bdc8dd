"""Counters and durations of a run, in bounded memory."""

import math
import threading
from collections import Counter, defaultdict
from collections.abc import Mapping

STEP = 1.05
LEAST_S = 0.0005


class Times:
    """Durations in classes that grow by 5 %, which is also the accuracy of the percentiles."""

    def __init__(self) -> None:
        self._classes: Counter[int] = Counter()
        self.count = 0
        self.worst_s = 0.0

    def add(self, seconds: float) -> None:
        """Count one duration."""
        self._classes[math.ceil(math.log(max(seconds, LEAST_S) / LEAST_S, STEP))] += 1
        self.count += 1
        self.worst_s = max(self.worst_s, seconds)

    def percentile(self, part: float) -> float:
        """Return the duration that this share of all did not exceed; 0 where there are none."""
        left = self.count * part
        for class_, count in sorted(self._classes.items()):
            left -= count
            if left <= 0:
                return min(LEAST_S * STEP**class_, self.worst_s)
        return 0.0


class Measurements:
    """What readers and writers observed, by the phase in which each request began."""

    def __init__(self) -> None:
        self.phase = "quiet"
        self.statuses: Counter[str] = Counter()
        self.times: dict[tuple[str, str], Times] = defaultdict(Times)
        self.marks: Counter[str] = Counter()
        self.metrics: dict[str, Counter[str]] = defaultdict(Counter)
        self._lock = threading.Lock()

    def count_response(self, what: str, phase: str, status: str, seconds: float) -> None:
        """Count one response."""
        with self._lock:
            self.statuses[f"{what} {status}"] += 1
            self.times[what, phase].add(seconds)

    def failed(self, what: str, kind: str) -> None:
        """Count one request without a response."""
        with self._lock:
            self.statuses[f"{what} {kind}"] += 1

    def mark(self, name: str, count: int = 1) -> None:
        """Count an event that the report shows."""
        with self._lock:
            self.marks[name] += count

    def reads_and_writes(self) -> tuple[int, int]:
        """Return how many reads and how many writes got a response."""
        with self._lock:
            counts = dict.fromkeys(("read", "write"), 0)
            for (what, _), times in self.times.items():
                counts[what] += times.count
        return counts["read"], counts["write"]


class Metrics:
    """Differences of the API's own counters, process by process; a process that restarts begins at zero."""

    def __init__(self) -> None:
        self._last: dict[str, Mapping[str, float]] = {}

    def gain(self, process: str, text: str) -> Counter[str]:
        """Return by how much each counter has risen since the last call."""
        now = dict(_read(text))
        before = self._last.get(process, {})
        self._last[process] = now
        is_new = any(before.get(name, 0) > value for name, value in now.items())
        return Counter({name: int(value - (0 if is_new else before.get(name, 0))) for name, value in now.items()})


def _read(text: str) -> list[tuple[str, float]]:
    wanted = ("campshub_cache_", "campshub_reads_total", "campshub_freshness_")
    rows = [line.rpartition(" ") for line in text.splitlines() if line.startswith(wanted)]
    return [(name, float(value)) for name, _, value in rows if "_created" not in name and "_bucket" not in name]
