"""Run computations in threads outside the gevent hub."""

import asyncio
import contextlib
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

from gevent import get_hub, monkey

# Computing threads get a lower priority than the hub's thread, for when both need the same core.
NICENESS = 10


def run_in_thread(function: Callable[..., Any], *arguments: Any) -> Any:
    """Run a pure computation in the hub's thread pool, so that other requests continue."""
    return get_hub().threadpool.apply(_run_with_low_priority, (function, arguments))


def _run_with_low_priority(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """Run a function with a lower priority than the hub's thread, so that many computations do not delay reads."""
    if sys.platform == "linux":  # only there does a thread have its own priority
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
    return function(*arguments)


_asyncio: dict[int, asyncio.AbstractEventLoop] = {}


def asyncio_loop() -> asyncio.AbstractEventLoop | None:
    """Return this process's asyncio loop, in a native thread, for libraries that need a loop in another thread.

    None without gevent: then these libraries start such a thread themselves. Under gevent their thread would be a
    greenlet of the same thread, and asyncio refuses to wait for a loop in its own thread.
    """
    if not monkey.is_module_patched("threading"):
        return None
    process = os.getpid()  # a forked child does not have its parent's threads
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
