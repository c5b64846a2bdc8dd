"""Waiting for what happens in other threads and processes."""

import time
from collections.abc import Callable
from typing import Any

PATIENCE_S = 60.0


def until(condition: Callable[[], Any], patience_s: float = PATIENCE_S, *, explain: Callable[[], str] = str) -> Any:
    """Wait until a condition holds; return its value.

    :param explain: returns what the failure shows, for example a log.
    """
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.01)
    raise AssertionError(f"not true after {patience_s} s\n{explain()}")
