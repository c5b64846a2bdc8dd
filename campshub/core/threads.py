"""The event loop, and how to keep work off it."""

import asyncio
import contextlib
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

from gevent import get_hub, monkey

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


_asyncio: dict[int, asyncio.AbstractEventLoop] = {}


def asyncio_loop() -> asyncio.AbstractEventLoop | None:
    """Return this process's asyncio loop, in a native thread, for libraries that wait for one in another thread.

    None without gevent, where they start such a thread themselves. Under gevent that would be a greenlet of the same
    thread, and asyncio refuses to wait for a loop that runs in it.
    """
    if not monkey.is_module_patched("threading"):
        return None
    process = os.getpid()  # a child has none of its parent's threads
    if process not in _asyncio:
        ready = monkey.get_original("_thread", "allocate_lock")()
        ready.acquire()
        monkey.get_original("_thread", "start_new_thread")(_run_asyncio, (process, ready))
        ready.acquire()
    return _asyncio[process]


def _run_asyncio(process: int, ready: Any) -> None:
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    _asyncio[process] = loop
    loop.call_soon(ready.release)
    loop.run_forever()
