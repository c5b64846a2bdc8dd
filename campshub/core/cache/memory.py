"""Answers in the process's own memory: bounded in bytes, the one used longest ago given up first."""

import threading
import time
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

ROOM_OF_AN_ENTRY = 600  # bytes, about: the key, the objects and the tables around the body


@dataclass(frozen=True, slots=True)
class CachedResponse:
    """A finished answer: its bytes and the headers that belong to them."""

    key: bytes
    body: bytes
    etag: str
    link: str | None


class ResponseMemory:
    """Finished answers by where they are asked for; a newer one takes the place of the one before."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._entries: OrderedDict[Hashable, tuple[CachedResponse, float]] = OrderedDict()
        self._lock = threading.RLock()
        self.bytes = 0

    def get(self, place: Hashable) -> CachedResponse | None:
        """Return what is kept at a place; what has outlived its life is dropped."""
        with self._lock:
            found = self._entries.get(place)
            if found is None:
                return None
            cached, until = found
            if time.monotonic() > until:
                self._drop(place)
                return None
            self._entries.move_to_end(place)
            return cached

    def put(self, place: Hashable, cached: CachedResponse, life_s: float) -> None:
        """Keep an answer; make room where there is none."""
        room = len(cached.body) + ROOM_OF_AN_ENTRY
        with self._lock:
            self._drop(place)
            if room > self._most_bytes:
                return
            self._entries[place] = (cached, time.monotonic() + life_s)
            self.bytes += room
            while self.bytes > self._most_bytes:
                self._drop(next(iter(self._entries)))

    def _drop(self, place: Hashable) -> None:
        found = self._entries.pop(place, None)
        if found is not None:
            self.bytes -= len(found[0].body) + ROOM_OF_AN_ENTRY

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._entries.clear()
            self.bytes = 0

    def __len__(self) -> int:
        return len(self._entries)
