"""The event loop, and how to keep work off it."""

import contextlib
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

from gevent import get_hub

# So much less than the loop's own thread gets a thread that computes, where both want the same core.
NICENESS = 10


def off_the_loop(function: Callable[..., Any], *arguments: Any) -> Any:
    """Run what only computes in the hub's thread pool, so that other requests go on."""
    return get_hub().threadpool.apply(_behind, (function, arguments))


def _behind(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """Run a function in a thread that stands behind the loop's: requests that only read must not wait for a rush."""
    if sys.platform == "linux":  # where a thread has a priority of its own
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
    return function(*arguments)
