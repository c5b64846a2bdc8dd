"""Which addresses are asked most, and by whom: counted in each process, added up in the cache Redis now and then.

What is counted is no more than a hint of what to warm; it may be lost with the process, or with Redis.
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
# In a process between two tellings; who asks for ever new addresses makes it forget them, not grow.
MOST_COUNTED = 5_000
MOST_TOLD = 100  # of an organization, each time
MOST_KEPT = 500  # of an organization and day
DAYS_KEPT = 2


class PopularUrl(NamedTuple):
    """An address with its parameters, and the user who asks for it."""

    organization: str
    user: str
    path: str
    query: bytes


class PopularUrls:
    """What a process was asked, and what all of them have told Redis."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._counts: dict[tuple[str, str, str, bytes], int] = {}
        self._told_at = time.perf_counter()

    def note(self, organization: str, user: str, path: str, query: bytes, at: float) -> None:
        """Count one question; ``at`` is by ``time.perf_counter``. Once a minute what was counted is told apart."""
        counts, use = self._counts, (organization, user, path, query)
        counts[use] = counts.get(use, 0) + 1
        if at - self._told_at > EVERY_S or len(counts) > MOST_COUNTED:
            self._told_at, self._counts = at, {}
            threading.Thread(target=self._tell, args=(counts,), name="uses", daemon=True).start()

    def tell(self) -> None:
        """Tell Redis what was counted so far."""
        counts, self._counts = self._counts, {}
        self._tell(counts)

    def _tell(self, counts: dict[tuple[str, str, str, bytes], int]) -> None:
        of: dict[str, list[tuple[int, PopularUrl]]] = {}
        for use, count in counts.items():
            of.setdefault(use[0], []).append((count, PopularUrl(*use)))
        try:
            self._cache.ask(lambda client: _add(client, of, datetime.now(UTC)))
        except CacheUnavailable:
            return

    def organizations(self, now: datetime) -> list[str]:
        """Return the organizations that were asked about today or yesterday, the most active first.

        :raises CacheUnavailable: Redis does not answer.
        """
        names = [f"uses:{day}" for day in _days(now)]
        return [name.decode() for name in self._cache.ask(lambda client: _most(client, names, MOST_COUNTED))]

    def most(self, organization: str, now: datetime, *, most: int) -> list[PopularUrl]:
        """Return what was asked most about an organization today and yesterday.

        :raises CacheUnavailable: Redis does not answer.
        """
        names = [f"uses:{organization}:{day}" for day in _days(now)]
        return [_read(organization, told) for told in self._cache.ask(lambda client: _most(client, names, most))]

    def forget(self, use: PopularUrl, now: datetime) -> None:
        """Forget what is not to be warmed again.

        :raises CacheUnavailable: Redis does not answer.
        """
        names = [f"uses:{use.organization}:{day}" for day in _days(now)]
        self._cache.ask(lambda client: [client.zrem(name, _written(use)) for name in names])


def _add(client: Any, of: dict[str, list[tuple[int, PopularUrl]]], now: datetime) -> None:
    """Add counts up, in one round trip; keep the greatest."""
    day = _days(now)[0]
    life = timedelta(days=DAYS_KEPT)
    with client.pipeline(transaction=False) as calls:
        for organization, counted in of.items():
            name = f"uses:{organization}:{day}"
            for count, use in heapq.nlargest(MOST_TOLD, counted):
                calls.zincrby(name, count, _written(use))
            calls.zremrangebyrank(name, 0, -MOST_KEPT - 1)
            calls.expire(name, life)
            calls.zincrby(f"uses:{day}", sum(count for count, _ in counted), organization)
        calls.expire(f"uses:{day}", life)
        calls.execute()


def _most(client: Any, names: Iterable[str], most: int) -> list[bytes]:
    found: dict[bytes, float] = {}
    for name in names:
        for member, score in client.zrevrange(name, 0, most - 1, withscores=True):
            found[member] = found.get(member, 0) + score
    return sorted(found, key=lambda member: (-found[member], member))[:most]


def _days(now: datetime) -> list[str]:
    return [f"{now - timedelta(days=back):%Y%m%d}" for back in range(DAYS_KEPT)]


def _written(use: PopularUrl) -> bytes:
    return orjson.dumps([use.user, use.path, use.query.decode("latin-1")])


def _read(organization: str, told: bytes) -> PopularUrl:
    user, path, query = orjson.loads(told)
    return PopularUrl(organization, user, path, query.encode("latin-1"))
