"""Requests that took longer than they may, noted where the threshold checks find them: the slowest of each route."""

import contextlib
from typing import Any

from campshub.core.redis.connection import Cache, CacheUnavailable

OVER_S = 1.0
_KEPT_S = 3600


class Notes:
    """Where this process notes them; a class, since importers of a value would keep the old one."""

    cache: Cache | None = None
    key = ""


def init(cache: Cache, database: str) -> None:
    """Name the cache that they are noted in, and the database whose requests they are."""
    Notes.cache, Notes.key = cache, f"campshub:{database}:slow_requests"


def note(route: str, seconds: float) -> None:
    """Note a request that was slow; without Redis the log and the metrics still tell of it."""
    if Notes.cache is None:
        return

    def write(client: Any) -> None:
        with client.pipeline(transaction=False) as pipe:
            pipe.hset(Notes.key, route, f"{seconds:.3f}")
            pipe.expire(Notes.key, _KEPT_S)
            pipe.execute()

    with contextlib.suppress(CacheUnavailable):
        Notes.cache.ask(write)


def take(client: Any) -> dict[str, float]:
    """Return what was noted, by route, and begin anew."""
    with client.pipeline(transaction=True) as pipe:
        pipe.hgetall(Notes.key)
        pipe.delete(Notes.key)
        found, _ = pipe.execute()
    return {route.decode(): float(seconds) for route, seconds in found.items()}
