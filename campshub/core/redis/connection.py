"""The connections to a cache Redis for what is rare: short time-outs, no silent retries, and a pause after a failure.

redis-py's own defaults would hold a request for seconds when the server is away. What every request asks goes by the
``wire``.
"""

from collections.abc import Callable
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from campshub.core.circuit_breaker import CircuitBreaker
from campshub.core.observe import metrics

ANSWER_WITHIN_S = 0.25
PAUSE_S = 2.0
CONNECTIONS = 64


class CacheUnavailable(Exception):
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
        # Of its own: the wire to the same server, ``cache0``, fails and comes back by itself.
        self._breaker = CircuitBreaker(PAUSE_S, name="limits", changed=metrics.breaker_open.labels("limits").set)

    def ask(self, question: Callable[[Any], Any]) -> Any:
        """Return the answer of one call.

        :raises CacheUnavailable: it failed, or one failed a moment ago.
        """
        if not self._breaker.allows():
            raise CacheUnavailable
        try:
            answer = question(self.client)
        except redis.RedisError as error:
            self._breaker.failed()
            raise CacheUnavailable from error
        self._breaker.succeeded()
        return answer
