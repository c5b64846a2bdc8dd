"""The event loop, and how to keep work off it."""

from collections.abc import Callable
from typing import Any

from gevent import get_hub


def off_the_loop(function: Callable[..., Any], *arguments: Any) -> Any:
    """Run what only computes in the hub's thread pool, so that other requests go on."""
    return get_hub().threadpool.apply(function, arguments)
