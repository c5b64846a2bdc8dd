"""The most requested URLs and their users: counted in each process, and added up in the cache Redis once a minute.

The counts are only hints for cache warming; they may be lost with the process, or with Redis.
"""

import heapq
import threading
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import orjson

from campshub.core.redis.connection import Cache, CacheUnavailable

EVERY_S = 60.0
# In a process between two flushes. A client that requests ever new URLs only causes more flushes.
MOST_COUNTED = 5_000
MOST_SENT = 100  # per organization and flush
MOST_STORED = 500  # per organization and day
DAYS_STORED = 2


class PopularUrl(NamedTuple):
    """A URL with its query string, and the user who requests it."""

    organization: str
    user: str
    path: str
    query: bytes


class PopularUrls:
    """The URLs requested from this process, and the counts of all processes in Redis."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._counts: dict[tuple[str, str, str, bytes], int] = {}
        self._sent_at = time.perf_counter()

    def note(self, organization: str, user: str, path: str, query: bytes, at: float) -> None:
        """Count one request; ``at`` is by ``time.perf_counter``. Once a minute, a thread sends the counts to Redis."""
        counts, use = self._counts, (organization, user, path, query)
        counts[use] = counts.get(use, 0) + 1
        if at - self._sent_at > EVERY_S or len(counts) > MOST_COUNTED:
            self._sent_at, self._counts = at, {}
            threading.Thread(target=self._send, args=(counts,), name="uses", daemon=True).start()

    def flush(self) -> None:
        """Send the counts so far to Redis."""
        counts, self._counts = self._counts, {}
        self._send(counts)

    def _send(self, counts: dict[tuple[str, str, str, bytes], int]) -> None:
        by_organization: dict[str, list[tuple[int, PopularUrl]]] = {}
        for use, count in counts.items():
            by_organization.setdefault(use[0], []).append((count, PopularUrl(*use)))
        try:
            self._cache.call(lambda client: _add(client, by_organization, datetime.now(UTC)))
        except CacheUnavailable:
            return

    def organizations(self, now: datetime) -> list[str]:
        """Return the organizations with requests today or yesterday, the most active first.

        :raises CacheUnavailable: Redis does not reply.
        """
        names = [f"uses:{day}" for day in _days(now)]
        return [name.decode() for name in self._cache.call(lambda client: _most(client, names, MOST_COUNTED))]

    def most(self, organization: str, now: datetime, *, most: int) -> list[PopularUrl]:
        """Return the most requested URLs of an organization, today and yesterday.

        :raises CacheUnavailable: Redis does not reply.
        """
        names = [f"uses:{organization}:{day}" for day in _days(now)]
        return [_read(organization, member) for member in self._cache.call(lambda client: _most(client, names, most))]

    def forget(self, use: PopularUrl, now: datetime) -> None:
        """Delete a URL that must not be warmed again.

        :raises CacheUnavailable: Redis does not reply.
        """
        names = [f"uses:{use.organization}:{day}" for day in _days(now)]
        self._cache.call(lambda client: [client.zrem(name, _written(use)) for name in names])


def _add(client: Any, by_organization: dict[str, list[tuple[int, PopularUrl]]], now: datetime) -> None:
    """Add the counts to those in Redis in one round trip; delete all but the greatest."""
    day = _days(now)[0]
    ttl = timedelta(days=DAYS_STORED)
    with client.pipeline(transaction=False) as calls:
        for organization, counted in by_organization.items():
            name = f"uses:{organization}:{day}"
            for count, use in heapq.nlargest(MOST_SENT, counted):
                calls.zincrby(name, count, _written(use))
            calls.zremrangebyrank(name, 0, -MOST_STORED - 1)
            calls.expire(name, ttl)
            calls.zincrby(f"uses:{day}", sum(count for count, _ in counted), organization)
        calls.expire(f"uses:{day}", ttl)
        calls.execute()


def _most(client: Any, names: Iterable[str], most: int) -> list[bytes]:
    found: dict[bytes, float] = {}
    for name in names:
        for member, score in client.zrevrange(name, 0, most - 1, withscores=True):
            found[member] = found.get(member, 0) + score
    return sorted(found, key=lambda member: (-found[member], member))[:most]


def _days(now: datetime) -> list[str]:
    return [f"{now - timedelta(days=back):%Y%m%d}" for back in range(DAYS_STORED)]


def _written(use: PopularUrl) -> bytes:
    return orjson.dumps([use.user, use.path, use.query.decode("latin-1")])


def _read(organization: str, member: bytes) -> PopularUrl:
    user, path, query = orjson.loads(member)
    return PopularUrl(organization, user, path, query.encode("latin-1"))
