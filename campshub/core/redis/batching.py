"""Batch concurrent calls: callers that arrive during a round trip share the next one.

Concurrent callers of one process share a round trip (to Redis, or one query to the primary). The first
caller, the *leader*, makes the round trip for all that wait, so no separate thread or greenlet has to wake up first.
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

MOST_AT_ONCE = 128


class Interrupted(Exception):
    """The leader was interrupted during the round trip, so the callers of its batch get no reply."""


class BatchedRequest:
    """The request of one caller, and its reply."""

    __slots__ = ("done", "failure", "is_leader", "payload", "reply")

    def __init__(self, payload: Any) -> None:
        self.payload = payload
        # Released when there is a reply, or when this caller becomes the leader.
        self.done = threading.Lock()
        self.done.acquire()
        self.is_leader = False
        self.reply: Any = None
        self.failure: Exception | None = None


class RequestBatcher:
    """Batches the calls to one server; ``serve`` makes one round trip for several requests and sets their replies."""

    def __init__(self, serve: Callable[[Sequence[BatchedRequest]], None]) -> None:
        self._serve = serve
        self._reset()

    def _reset(self) -> None:
        """Start with an empty queue, as a forked process must."""
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._waiting: deque[BatchedRequest] = deque()
        self._is_busy = False

    def request(self, payload: Any = None) -> Any:
        """Return the reply of a round trip that begins after this call.

        :raises Exception: the exception of the round trip.
        """
        if os.getpid() != self._process:
            self._reset()
        request = BatchedRequest(payload)
        with self._lock:
            is_leader, self._is_busy = not self._is_busy, True
            self._waiting.append(request)
        if not is_leader:
            try:
                request.done.acquire()
            except BaseException:
                self._leave(request)
                raise
            is_leader = request.is_leader
        if is_leader:
            self._lead()
        if request.failure is not None:
            raise request.failure
        return request.reply

    def _leave(self, request: BatchedRequest) -> None:
        """Remove an interrupted caller from the queue; if it was the leader, the next caller becomes the leader."""
        following = None
        with self._lock:
            if request in self._waiting:
                self._waiting.remove(request)
                if request.is_leader:
                    following = self._next()
        if following is not None:
            following.done.release()

    def _next(self) -> BatchedRequest | None:
        """Make the first caller in the queue the leader and return it; the caller of this holds the lock."""
        following = self._waiting[0] if self._waiting else None
        self._is_busy = following is not None
        if following is not None:
            following.is_leader = True
        return following

    def _lead(self) -> None:
        """Make the round trip of one batch; then make the first caller that is still in the queue the next leader."""
        with self._lock:
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), MOST_AT_ONCE))]
        failure: Exception | None = Interrupted()
        try:
            self._serve(batch)
            failure = None
        except Exception as error:  # noqa: BLE001 - each caller raises it
            failure = error
        finally:  # also when this greenlet is killed: no caller may wait forever
            with self._lock:
                following = self._next()
            for request in batch:
                request.failure = failure
                request.done.release()
            if following is not None:
                following.done.release()
