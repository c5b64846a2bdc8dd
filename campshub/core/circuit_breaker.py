"""Circuit breaker: after failures, reject calls for ``pause_s``, then let one trial call through."""

import time
from collections import deque
from collections.abc import Callable


class CircuitOpen(Exception):
    """The breaker is open and rejects calls; callers may retry after ``seconds``."""

    def __init__(self, name: str, seconds: float) -> None:
        super().__init__(f"{name} failed: calls are rejected for {seconds:.0f} s")
        self.seconds = seconds


def _ignore(is_open: bool) -> None:  # noqa: FBT001 - the signature of a gauge's set()
    """Ignore a change of state."""


class CircuitBreaker:
    """Guards one service that may be unavailable: closed, open for a pause after failures, then half-open.

    It takes no lock, so that greenlets, threads and native threads can share it: each step is one atomic operation of a
    built-in type.

    :param pause_s: for how long calls are rejected.
    :param failures: the number of consecutive failures that opens the breaker.
    :param name: the service's name, for a gauge.
    :param changed: called with True when the breaker opens and False when it closes, such as a gauge's ``set``.
    """

    def __init__(
        self,
        pause_s: float,
        failures: int = 1,
        *,
        name: str = "",
        changed: Callable[[bool], object] = _ignore,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._pause_s = pause_s
        self._failures = failures
        self._changed = changed
        self._clock = clock
        self._failed_in_a_row = 0
        self._until: float | None = None  # None: closed
        self._trial = deque([None])  # the caller that pops the item may make the trial call

    @property
    def is_open(self) -> bool:
        """Whether the service counts as unavailable; a trial call changes that only when it succeeds."""
        return self._until is not None

    def allows(self) -> bool:
        """Return whether the caller may call the service.

        After the pause one caller may make a trial call; the others are still rejected. If the trial's outcome is never
        reported, the breaker only pauses once more.
        """
        until = self._until
        if until is None:
            return True
        now = self._clock()
        if now < until:
            return False
        try:
            self._trial.pop()
        except IndexError:
            return False
        # Another caller may have begun a trial, and set its pause, since `until` was read.
        is_trial = self._until is until
        if is_trial:
            self._until = now + self._pause_s
        self._trial.append(None)
        return is_trial

    def succeeded(self) -> None:
        """Record that a call has succeeded."""
        if self._failed_in_a_row:
            self._failed_in_a_row = 0
        if self._until is not None:
            self._until = None
            self._changed(False)

    def failed(self) -> None:
        """Record that a call has failed."""
        self._failed_in_a_row += 1
        was_closed = self._until is None
        if was_closed and self._failed_in_a_row < self._failures:
            return
        self._until = self._clock() + self._pause_s
        if was_closed:
            self._changed(True)
