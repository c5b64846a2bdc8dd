"""The connection to the cache Redis: short time-outs, no silent retries, and a pause after a failure.

redis-py's own defaults would hold a request for seconds when the server is away.
"""

import time
from collections.abc import Callable
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

ANSWER_WITHIN_S = 0.25
PAUSE_S = 2.0
CONNECTIONS = 64


class CacheAway(Exception):
    """The cache Redis does not answer; whoever asked goes on without it."""


class Cache:
    """One cache Redis; after a failure it is left alone for two seconds."""

    def __init__(self, url: str) -> None:
        # A blocking pool: many requests at once wait their turn, where another pool would say that Redis is away.
        connections = redis.BlockingConnectionPool.from_url(
            url,
            socket_timeout=ANSWER_WITHIN_S,
            socket_connect_timeout=ANSWER_WITHIN_S,
            retry=Retry(NoBackoff(), 0),
            max_connections=CONNECTIONS,
            timeout=ANSWER_WITHIN_S,
        )
        self.client: Any = redis.Redis.from_pool(connections)
        self._away_until = 0.0

    def ask(self, question: Callable[[Any], Any]) -> Any:
        """Return the answer of one call.

        :raises CacheAway: it failed, or one failed a moment ago.
        """
        if time.monotonic() < self._away_until:
            raise CacheAway
        try:
            return question(self.client)
        except redis.RedisError as error:
            self._away_until = time.monotonic() + PAUSE_S
            raise CacheAway from error
