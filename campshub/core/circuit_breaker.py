"""A breaker: what has failed is left alone for a pause, and then tried by one caller before all come back."""

import time
from collections import deque
from collections.abc import Callable


class CircuitOpen(Exception):
    """The part is left alone for now; it may be asked again in so many seconds."""

    def __init__(self, name: str, seconds: float) -> None:
        super().__init__(f"{name} is left alone for {seconds:.0f} s")
        self.seconds = seconds


def _nobody(is_open: bool) -> None:  # noqa: FBT001 - what a gauge's set() takes
    """Tell nobody."""


class CircuitBreaker:
    """Guards one part that may be away: closed, open for a pause after failures, then half-open.

    Takes no lock, so that greenlets, threads and a thread beside the hub may share one: each step stands on a single
    operation of a built-in type.

    :param pause_s: for how long the part is left alone.
    :param failures: how many in a row open the breaker.
    :param name: the part's name, for a gauge.
    :param changed: told True when the breaker opens and False when it closes, such as a gauge's ``set``.
    """

    def __init__(
        self,
        pause_s: float,
        failures: int = 1,
        *,
        name: str = "",
        changed: Callable[[bool], object] = _nobody,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._pause_s = pause_s
        self._failures = failures
        self._changed = changed
        self._clock = clock
        self._failed_in_a_row = 0
        self._until: float | None = None  # None: closed
        self._trial = deque([None])  # whoever takes what is in it may try

    @property
    def is_open(self) -> bool:
        """Whether the part is taken to be away; a trial does not change that before it succeeds."""
        return self._until is not None

    def allows(self) -> bool:
        """Tell whether the caller may ask the part.

        When the pause is over, one caller may, and the others go past it. A caller who never tells how it went costs
        another pause and no more.
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
        # Someone else's trial may have begun and its pause been set since `until` was read.
        is_mine = self._until is until
        if is_mine:
            self._until = now + self._pause_s
        self._trial.append(None)
        return is_mine

    def succeeded(self) -> None:
        """Note that the part has answered."""
        if self._failed_in_a_row:
            self._failed_in_a_row = 0
        if self._until is not None:
            self._until = None
            self._changed(False)

    def failed(self) -> None:
        """Note that the part has failed."""
        self._failed_in_a_row += 1
        was_closed = self._until is None
        if was_closed and self._failed_in_a_row < self._failures:
            return
        self._until = self._clock() + self._pause_s
        if was_closed:
            self._changed(True)
