"""Cached responses in the process's memory: an LRU cache, bounded in bytes."""

import threading
import time
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

ENTRY_OVERHEAD_BYTES = 600  # approximately: the key, the objects and the tables around the body


@dataclass(frozen=True, slots=True)
class CachedResponse:
    """A rendered response: its key with the stamps, its bytes, and the headers that belong to them."""

    key: bytes
    body: bytes
    etag: str
    link: str | None


class ResponseMemory:
    """Rendered responses by location: organization, view and digest, so the key of a response without its stamps.

    So a newer response replaces the outdated one. The lookup compares ``CachedResponse.key`` with the current stamps.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._entries: OrderedDict[Hashable, tuple[CachedResponse, float]] = OrderedDict()
        self._lock = threading.RLock()
        self.bytes = 0

    def get(self, location: Hashable) -> CachedResponse | None:
        """Return the response cached for a location; drop it if its TTL has expired."""
        with self._lock:
            found = self._entries.get(location)
            if found is None:
                return None
            cached, until = found
            if time.monotonic() > until:
                self._drop(location)
                return None
            self._entries.move_to_end(location)
            return cached

    def put(self, location: Hashable, cached: CachedResponse, ttl_s: float) -> None:
        """Cache a response; evict others if the cache is full."""
        size = len(cached.body) + ENTRY_OVERHEAD_BYTES
        with self._lock:
            self._drop(location)
            if size > self._most_bytes:
                return
            self._entries[location] = (cached, time.monotonic() + ttl_s)
            self.bytes += size
            while self.bytes > self._most_bytes:
                self._drop(next(iter(self._entries)))

    def _drop(self, location: Hashable) -> None:
        found = self._entries.pop(location, None)
        if found is not None:
            self.bytes -= len(found[0].body) + ENTRY_OVERHEAD_BYTES

    def clear(self) -> None:
        """Drop all responses."""
        with self._lock:
            self._entries.clear()
            self.bytes = 0

    def __len__(self) -> int:
        return len(self._entries)
