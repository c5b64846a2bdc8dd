"""A line before a counter: whoever comes while it is busy goes with the next trip, all of the line at once.

So that concurrent callers of one process share a round trip (to Redis, or one question to the primary), with no thread
or greenlet that would have to be woken first: the first in line makes the trip for all.
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

MOST_AT_ONCE = 128


class Interrupted(Exception):
    """Whoever made the trip for this caller was stopped on the way."""


class BatchedRequest:
    """What one caller wants, and its answer."""

    __slots__ = ("answer", "done", "failure", "is_leader", "what")

    def __init__(self, what: Any) -> None:
        self.what = what
        self.done = threading.Lock()
        self.done.acquire()
        self.is_leader = False
        self.answer: Any = None
        self.failure: Exception | None = None


class RequestBatcher:
    """Callers of one counter; ``serve`` makes a trip for several errands and gives each its answer."""

    def __init__(self, serve: Callable[[Sequence[BatchedRequest]], None]) -> None:
        self._serve = serve
        self._forget()

    def _forget(self) -> None:
        """Begin with nobody in line, as a forked process must."""
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._waiting: deque[BatchedRequest] = deque()
        self._is_busy = False

    def ask(self, what: Any = None) -> Any:
        """Return the answer of a trip that begins after this call.

        :raises Exception: what the trip raised.
        """
        if os.getpid() != self._process:
            self._forget()
        errand = BatchedRequest(what)
        with self._lock:
            is_leader, self._is_busy = not self._is_busy, True
            self._waiting.append(errand)
        if not is_leader:
            try:
                errand.done.acquire()
            except BaseException:
                self._leave(errand)
                raise
            is_leader = errand.is_leader
        if is_leader:
            self._lead()
        if errand.failure is not None:
            raise errand.failure
        return errand.answer

    def _leave(self, errand: BatchedRequest) -> None:
        """Take a caller who was stopped out of the line; whoever is next leads in their place."""
        following = None
        with self._lock:
            if errand in self._waiting:
                self._waiting.remove(errand)
                if errand.is_leader:
                    following = self._next()
        if following is not None:
            following.done.release()

    def _next(self) -> BatchedRequest | None:
        """Return who leads from now on; the caller holds the lock."""
        following = self._waiting[0] if self._waiting else None
        self._is_busy = following is not None
        if following is not None:
            following.is_leader = True
        return following

    def _lead(self) -> None:
        """Make the trip; then let the first of those who came meanwhile make the next."""
        with self._lock:
            taken = [self._waiting.popleft() for _ in range(min(len(self._waiting), MOST_AT_ONCE))]
        failure: Exception | None = Interrupted()
        try:
            self._serve(taken)
            failure = None
        except Exception as error:  # noqa: BLE001 - each caller raises it
            failure = error
        finally:  # also when this greenlet is being stopped: nobody may be left waiting
            with self._lock:
                following = self._next()
            for errand in taken:
                errand.failure = failure
                errand.done.release()
            if following is not None:
                following.done.release()
