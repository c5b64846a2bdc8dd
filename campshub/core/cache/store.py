"""Rendered responses in two layers, the process's memory and the cache Redis, with one database read per miss.

This module does not decide whether a response is current: its key contains the stamps, so a response that is found is
current (``core.freshness.protocol``). TTLs only limit the memory that responses use.
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
# How long a caller waits for another one that renders the same response, before it renders the response as well.
PATIENCE_S = 8.0


class SingleFlight:
    """One caller computes a result, and others wait for it."""

    def __init__(self) -> None:
        self.landed = threading.Event()
        self.found: Any = None


class ResponseCache:
    """The rendered responses in a process's memory, and those shared through Redis."""

    def __init__(self, most_bytes: int) -> None:
        self.memory = ResponseMemory(most_bytes)
        self._flights: dict[bytes, SingleFlight] = {}
        self._lock = threading.Lock()

    def read(self, key: bytes, stored: bytes) -> CachedResponse:
        """Parse a response as stored in Redis."""
        head, _, body = stored.partition(b"\n")
        etag, link = orjson.loads(head)
        return CachedResponse(key, body, etag, link)

    def store(self, server: PipelinedRedis, cached: CachedResponse, ttl_s: float) -> None:
        """Store a response in Redis, for all processes; do nothing if Redis is unavailable."""
        head = orjson.dumps([cached.etag, cached.link])
        self.put(server, cached.key, head + b"\n" + cached.body, ttl_s)

    def put(self, server: PipelinedRedis, key: bytes, value: bytes, ttl_s: float) -> None:
        """Store a value in Redis for about ``ttl_s`` seconds; do nothing if Redis is unavailable."""
        try:
            server.send(b"SET", key, value, b"PX", _jittered_ms(ttl_s))
        except CacheUnavailable:
            return

    @contextmanager
    def flight(self, key: bytes) -> Iterator[tuple[SingleFlight, bool]]:
        """Join the rendering of a response; the second value is True for the caller that renders it.

        The others wait, and get the result in ``flight.found``; None if there is none.
        """
        with self._lock:
            flight = self._flights.get(key)
            is_leader = flight is None
            if flight is None:
                flight = self._flights[key] = SingleFlight()
        if not is_leader:
            flight.landed.wait(PATIENCE_S)
            yield flight, False
            return
        try:
            yield flight, True
        finally:
            with self._lock:
                del self._flights[key]
            flight.landed.set()


def _jittered_ms(ttl_s: float) -> int:
    """Return a TTL in milliseconds with random jitter, so that entries stored together do not expire together."""
    return int(ttl_s * 1000 * random.uniform(1 - JITTER, 1 + JITTER))  # noqa: S311 - jitter, not a secret
