"""Connections to a cache Redis for rare commands: short time-outs, no silent retries, and a pause after a failure.

With redis-py's defaults a request would wait for seconds when the server is unavailable. The lookup of each request
uses ``PipelinedRedis`` instead.
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
    """The cache Redis does not reply; the caller continues without it."""


class Cache:
    """One cache Redis; after a failure, calls are rejected for two seconds."""

    def __init__(self, url: str) -> None:
        # A blocking pool: with many concurrent requests they wait, while another pool would raise a connection error.
        connections = redis.BlockingConnectionPool.from_url(
            url,
            socket_timeout=ANSWER_WITHIN_S,
            socket_connect_timeout=ANSWER_WITHIN_S,
            retry=Retry(NoBackoff(), 0),
            max_connections=CONNECTIONS,
            timeout=ANSWER_WITHIN_S,
        )
        self.client: Any = redis.Redis.from_pool(connections)
        # A separate breaker: the pipelined connection to the same server, ``cache0``, fails and recovers independently.
        self._breaker = CircuitBreaker(PAUSE_S, name="limits", changed=metrics.breaker_open.labels("limits").set)

    def call(self, function: Callable[[Any], Any]) -> Any:
        """Return the result of a call with the Redis client.

        :raises CacheUnavailable: the call failed, or one failed a moment ago.
        """
        if not self._breaker.allows():
            raise CacheUnavailable
        try:
            result = function(self.client)
        except redis.RedisError as error:
            self._breaker.failed()
            raise CacheUnavailable from error
        self._breaker.succeeded()
        return result
