"""Gates: a request runs in a thread of its own, and stops before each step until the test lets it go on."""

import threading
from collections.abc import Callable
from typing import Any

PATIENCE_S = 60.0
_here = threading.local()


class Crash(BaseException):
    """The process has died at this step."""


class Walk:
    """Something that goes from gate to gate."""

    def __init__(self, what: Callable[[], Any]) -> None:
        self._what = what
        self._go = threading.Semaphore(0)
        self._stopped = threading.Semaphore(0)
        self._crashes = False
        self.loses_answer = False
        self.at: str | None = None  # the gate before which it stands; None: it is over
        self.passed: list[str] = []
        self.result: Any = None
        self.failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._wait()

    @staticmethod
    def here() -> "Walk | None":
        """Return who walks in this thread."""
        return getattr(_here, "walk", None)

    def _run(self) -> None:
        _here.walk = self
        try:
            self._stop_at("start")
            self.result = self._what()
        except Crash:
            pass
        except BaseException as error:  # noqa: BLE001 - the test raises it
            self.failure = error
        finally:
            self.at = None
            self._stopped.release()

    def _stop_at(self, name: str) -> None:
        self.at = name
        self._stopped.release()
        self._go.acquire()
        self.passed.append(name)
        if self._crashes:
            raise Crash

    def _wait(self) -> None:
        assert self._stopped.acquire(timeout=PATIENCE_S), f"stuck after {self.passed}"
        if self.failure is not None:
            raise self.failure

    @property
    def is_over(self) -> bool:
        return self.at is None

    def step(self) -> str:
        """Take one step; return which."""
        assert self.at is not None, "it is over"
        taken = self.at
        self._go.release()
        self._wait()
        return taken

    def to(self, *names: str) -> "Walk":
        """Go on until it stands before one of these gates.

        :raises AssertionError: it never comes there.
        """
        while self.at not in names:
            assert self.at is not None, f"over, and never at {names}: {self.passed}"
            self.step()
        return self

    def past(self, name: str) -> "Walk":
        """Go to a gate and through it."""
        self.to(name).step()
        return self

    def end(self) -> Any:
        """Go on to the end; return the result."""
        while self.at is not None:
            self.step()
        return self.result

    def crash(self) -> None:
        """Die before the next step."""
        self._crashes = True
        while self.at is not None:
            self._go.release()
            self._wait()


def gate(name: str) -> None:
    """Stop before a step, where somebody walks; others go by."""
    walk = Walk.here()
    if walk is not None:
        walk._stop_at(name)


def lost() -> bool:
    """Tell whether the answer of the step just taken is lost; it is only once."""
    walk = Walk.here()
    if walk is None or not walk.loses_answer:
        return False
    walk.loses_answer = False
    return True
