"""A map of bounded size, for data that a process may forget."""

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class BoundedMap(OrderedDict[K, V]):
    """The latest entries of a map; beyond ``most`` the oldest one is dropped. Reads take no lock."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most
        self._lock = threading.Lock()

    def put(self, key: K, value: V) -> None:
        """Store an entry; a replaced entry keeps its position in the order."""
        with self._lock:
            self[key] = value
            if len(self) > self._most:
                self.popitem(last=False)
