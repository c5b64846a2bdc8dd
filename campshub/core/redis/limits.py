"""Storage of rate limits in the cache Redis, and limits that count only failures."""

from collections.abc import Iterable
from typing import Any

from limits import RateLimitItem, parse
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import MovingWindowRateLimiter

from campshub.core.errors import RateLimited
from campshub.core.redis.connection import Cache, CacheUnavailable


class CacheStorage(RedisStorage):
    """Counts in the cache Redis over the shared connections and their circuit breaker."""

    STORAGE_SCHEME = ["campshub"]  # noqa: RUF012 - as the library declares it

    def __init__(self, uri: str, *, cache: Any, **options: Any) -> None:
        super().__init__(uri, connection_pool=cache.client.connection_pool, **options)
        self._cache: Cache = cache

    def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count a request if the limit allows it."""
        return bool(self._cache.call(lambda _: super(CacheStorage, self).acquire_entry(key, limit, expiry, amount)))

    def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """Return the time of the oldest request in the window, and the number of requests."""
        found: tuple[float, int] = self._cache.call(
            lambda _: super(CacheStorage, self).get_moving_window(key, limit, expiry)
        )
        return found

    def check(self) -> bool:
        """Return whether Redis is available again."""
        try:
            return bool(self._cache.call(lambda client: client.ping()))
        except CacheUnavailable:
            return False


class FailureLimits:
    """Limits of failed attempts, such as wrong codes; successful ones are not counted.

    They are counted in the cache Redis, and in the process while it is unavailable.
    """

    def __init__(self, cache: Cache) -> None:
        self._shared = MovingWindowRateLimiter(CacheStorage("campshub://", cache=cache))
        self._here = MovingWindowRateLimiter(MemoryStorage())

    def require_left(self, limits: Iterable[tuple[str, str]]) -> None:
        """Refuse an attempt if one of the limits, each with the name of what it counts, is used up.

        :raises RateLimited: too many attempts have failed.
        """
        for limit, key in limits:
            item = parse(limit)
            try:
                is_left = self._shared.test(item, key)
            except CacheUnavailable:
                is_left = self._here.test(item, key)
            if not is_left:
                wait_s = item.get_expiry()
                raise RateLimited(
                    f"Too many failed attempts ({limit}); retry in {wait_s} s.", headers={"Retry-After": f"{wait_s}"}
                )

    def count(self, limits: Iterable[tuple[str, str]], failures: int) -> None:
        """Count failed attempts."""
        for limit, key in limits:
            item = parse(limit)
            for _ in range(failures):
                if not self._hit(item, key):
                    break  # the limit is used up

    def _hit(self, item: RateLimitItem, key: str) -> bool:
        try:
            return self._shared.hit(item, key)
        except CacheUnavailable:
            return self._here.hit(item, key)
