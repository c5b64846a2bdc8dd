"""Signals that end a command: any number of them, in any order, stop it once and leave nothing running."""

import contextlib
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """A signal requests the end of the command; not an Exception, so that no handler treats it as an error."""


@dataclass
class _State:
    requested: bool = False
    is_armed: bool = False
    deferrals: int = 0


_state = _State()


def listen() -> None:
    """Raise ``Interrupted`` at the first signal from now on, and ignore all later ones."""
    for number in ENDING:
        signal.signal(number, _request)
    _arm()


def run(work: Callable[[], int], clean_up: Callable[[], None], *, interrupted: int = 0) -> int:
    """Run the work until it ends or a signal arrives, clean up once, and return the exit code.

    Later signals are ignored until the process has ended: a process group receives some of them several times.

    :param interrupted: the exit code after a signal.
    """
    for number in ENDING:
        signal.signal(number, _request)
    try:
        try:
            _arm()
            return work()
        finally:
            try:
                _state.is_armed = False
            finally:  # the only Interrupted has been raised, or none will be
                clean_up()
                for number in ENDING:
                    signal.signal(number, signal.SIG_IGN)  # at exit, Python would remove our handlers
    except Interrupted:
        return interrupted


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Delay a signal until the block has ended: what the block starts is recorded, or it was not started."""
    _state.deferrals += 1
    try:
        yield
    finally:
        _state.deferrals -= 1
        _raise_once()


def _request(_number: int, _frame: FrameType | None) -> None:
    _state.requested = True
    _raise_once()


def _arm() -> None:
    _state.is_armed = True
    _raise_once()


def _raise_once() -> None:
    if _state.requested and _state.is_armed and not _state.deferrals:
        _state.is_armed = False
        raise Interrupted
