"""Finished answers in layers: the process's memory, the cache Redis, and whoever asks the database for the rest.

Nothing here decides whether an answer is true: its key holds the stamps, so that one that is found is true
(``core.freshness.protocol``). Lives only bound the room that answers take.
"""

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson

from campshub.core.cache.memory import CachedResponse, ResponseMemory
from campshub.core.redis.connection import CacheUnavailable
from campshub.core.redis.pipeline import PipelinedRedis

JITTER = 0.1
# How long one waits for another who makes the same answer, before making it too.
PATIENCE_S = 8.0


class SingleFlight:
    """One who finds something out, and others who wait for it."""

    def __init__(self) -> None:
        self.landed = threading.Event()
        self.found: Any = None


class ResponseCache:
    """The finished answers that a process knows, and those that it shares through Redis."""

    def __init__(self, most_bytes: int) -> None:
        self.memory = ResponseMemory(most_bytes)
        self._flights: dict[bytes, SingleFlight] = {}
        self._lock = threading.Lock()

    def read(self, key: bytes, stored: bytes) -> CachedResponse:
        """Read what was stored in Redis."""
        head, _, body = stored.partition(b"\n")
        etag, link = orjson.loads(head)
        return CachedResponse(key, body, etag, link)

    def store(self, wire: PipelinedRedis, cached: CachedResponse, life_s: float) -> None:
        """Store an answer in Redis, for all processes; where Redis is away it is not."""
        head = orjson.dumps([cached.etag, cached.link])
        self.put(wire, cached.key, head + b"\n" + cached.body, life_s)

    def put(self, wire: PipelinedRedis, key: bytes, value: bytes, life_s: float) -> None:
        """Put a value into Redis for about so many seconds; where Redis is away it is not."""
        try:
            wire.send(b"SET", key, value, b"PX", _jittered_ms(life_s))
        except CacheUnavailable:
            return

    @contextmanager
    def flight(self, key: bytes) -> Iterator[tuple[SingleFlight, bool]]:
        """Enter the making of an answer; the second value tells whether this caller makes it.

        One who waits gets what was made in ``flight.found``; None where nothing was.
        """
        with self._lock:
            flight = self._flights.get(key)
            leads = flight is None
            if flight is None:
                flight = self._flights[key] = SingleFlight()
        if not leads:
            flight.landed.wait(PATIENCE_S)
            yield flight, False
            return
        try:
            yield flight, True
        finally:
            with self._lock:
                del self._flights[key]
            flight.landed.set()


def _jittered_ms(life_s: float) -> int:
    """Return a life in milliseconds, a little longer or shorter, so that what was made together does not end so."""
    return int(life_s * 1000 * random.uniform(1 - JITTER, 1 + JITTER))  # noqa: S311 - dice, not secrets
