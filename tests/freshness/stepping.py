"""Stepped threads: a request runs in its own thread, and pauses before each step until the test lets it continue."""

import threading
from collections.abc import Callable
from typing import Any

PATIENCE_S = 60.0
_local = threading.local()


class Crash(BaseException):
    """The process has died at this step."""


class SteppedThread:
    """A thread that runs from pause point to pause point."""

    def __init__(self, what: Callable[[], Any]) -> None:
        self._what = what
        self._go = threading.Semaphore(0)
        self._stopped = threading.Semaphore(0)
        self._crashes = False
        self.loses_answer = False
        self.at: str | None = None  # the next pause point; None: the thread has ended
        self.passed: list[str] = []
        self.result: Any = None
        self.failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._wait()

    @staticmethod
    def current() -> "SteppedThread | None":
        """Return the stepped thread that runs this code."""
        return getattr(_local, "thread", None)

    def _run(self) -> None:
        _local.thread = self
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
        """Take one step; return its name."""
        assert self.at is not None, "it has ended"
        taken = self.at
        self._go.release()
        self._wait()
        return taken

    def to(self, *names: str) -> "SteppedThread":
        """Continue to one of these pause points.

        :raises AssertionError: the thread never reaches one.
        """
        while self.at not in names:
            assert self.at is not None, f"ended, and never at {names}: {self.passed}"
            self.step()
        return self

    def past(self, name: str) -> "SteppedThread":
        """Continue to a pause point and past it."""
        self.to(name).step()
        return self

    def end(self) -> Any:
        """Continue to the end; return the result."""
        while self.at is not None:
            self.step()
        return self.result

    def crash(self) -> None:
        """Crash before the next step."""
        self._crashes = True
        while self.at is not None:
            self._go.release()
            self._wait()


def pause_point(name: str) -> None:
    """Pause before a step, in a stepped thread; other threads continue."""
    thread = SteppedThread.current()
    if thread is not None:
        thread._stop_at(name)


def lost() -> bool:
    """Return whether the response of this step is lost; only one response is."""
    thread = SteppedThread.current()
    if thread is None or not thread.loses_answer:
        return False
    thread.loses_answer = False
    return True
