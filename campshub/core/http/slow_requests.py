"""Slow requests: the latest duration per route, stored in Redis for the threshold checks."""

import contextlib
from typing import Any

from campshub.core.redis.connection import Cache, CacheUnavailable

OVER_S = 1.0
_TTL_S = 3600


class Notes:
    """Where this process stores slow requests; a class, because importers of a value would not see a change."""

    cache: Cache | None = None
    key = ""


def init(cache: Cache, database: str) -> None:
    """Set the Redis client, and the database name that is part of the key."""
    Notes.cache, Notes.key = cache, f"campshub:{database}:slow_requests"


def note(route: str, seconds: float) -> None:
    """Store a slow request; without Redis it is only in the log and the metrics."""
    if Notes.cache is None:
        return

    def write(client: Any) -> None:
        with client.pipeline(transaction=False) as pipe:
            pipe.hset(Notes.key, route, f"{seconds:.3f}")
            pipe.expire(Notes.key, _TTL_S)
            pipe.execute()

    with contextlib.suppress(CacheUnavailable):
        Notes.cache.call(write)


def take(client: Any) -> dict[str, float]:
    """Return the stored durations in seconds by route, and delete them."""
    with client.pipeline(transaction=True) as pipe:
        pipe.hgetall(Notes.key)
        pipe.delete(Notes.key)
        found, _ = pipe.execute()
    return {route.decode(): float(seconds) for route, seconds in found.items()}
