"""Values that are not whole responses, cached as JSON: a Flask-Caching backend whose keys contain stamps.

As with responses, the key decides whether a value is current. It contains the stamps of all tags that the value depends
on, as the lookup of the request returned them. So a value that is found is at least as new as the request, and the TTL
only limits memory. Values share the process's memory, its limit and the cache Redis with the responses.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import orjson
from flask import Flask
from flask_caching import Cache
from flask_caching.backends.base import BaseCache

from campshub.core.cache.memory import CachedResponse
from campshub.core.cache.store import ResponseCache
from campshub.core.observe import metrics
from campshub.core.redis.connection import CacheUnavailable
from campshub.core.redis.pipeline import PipelinedRedis

# Separates the part of a key that says which value it is from the stamps, which say which state of the data it shows.
_STAMPS = "|"


class StampedCache(BaseCache):
    """The values of all requests: in the process's memory, and in the cache Redis of their organization.

    A key is ``value:<space>:<organization>:<name>:...|<stamps>``. Memory has one value for each key without its stamps
    and space, so a newer value replaces the previous one.
    """

    def __init__(self, responses: ResponseCache, redis_of: Callable[[str], PipelinedRedis]) -> None:
        super().__init__()
        self.responses = responses
        self._redis_of = redis_of
        self._counts: dict[str, metrics.CacheMetrics] = {}

    @classmethod
    def factory(cls, app: Flask, config: dict[str, Any], args: list[Any], kwargs: dict[str, Any]) -> "StampedCache":  # noqa: ARG003 - Flask-Caching's signature
        """Create the backend of an application; Flask-Caching calls it."""
        services = app.extensions["campshub"]
        # ``freshness`` is looked up at each call: tests replace it.
        return cls(services.response_cache, lambda organization: services.freshness.redis_of(organization))  # noqa: PLW0108

    def get(self, key: str) -> Any:
        """Return a list of the value under a key; None if there is none, or Redis does not reply, or has another thing.

        The list distinguishes a value of None from a missing one.
        """
        organization, name, location = _parts(key)
        counts = self._counts.get(name)
        if counts is None:
            counts = self._counts[name] = metrics.CacheMetrics(name, metrics.value_hits, metrics.value_misses)
        in_memory, found = self.responses.memory.get(location), None
        if in_memory is not None and in_memory.key == key.encode():
            found = in_memory
        else:
            found = self._stored(organization, key)
        value = _read(found.body) if found is not None else None
        if value is None:
            found = None
        elif found is not None and found is not in_memory:
            self.responses.memory.put(location, found, self.default_timeout)
        counts.count(found=found, in_memory=in_memory)
        return value

    def set(self, key: str, value: Any, timeout: int | timedelta | None = None) -> bool:
        """Store a JSON value for about ``timeout`` seconds."""
        organization, _, location = _parts(key)
        cached, ttl_s = CachedResponse(key.encode(), orjson.dumps([value]), "", None), self._normalize_timeout(timeout)
        self.responses.memory.put(location, cached, ttl_s)
        self.responses.put(self._redis_of(organization), cached.key, cached.body, ttl_s)
        return True

    def has(self, key: str) -> bool:
        """Return whether there is a value under a key."""
        return self.get(key) is not None

    def _stored(self, organization: str, key: str) -> CachedResponse | None:
        try:
            body = self._redis_of(organization).send(b"GET", key)
        except CacheUnavailable:
            return None
        return CachedResponse(key.encode(), bytes(body), "", None) if body is not None else None


def _parts(key: str) -> tuple[str, str, tuple[str, str]]:
    """Return the organization and the name in a key, and the location of its value in memory."""
    which, _, _ = key.partition(_STAMPS)
    _, _, organization, rest = which.split(":", 3)
    return organization, rest.partition(":")[0], ("value", f"{organization}:{rest}")


def _read(body: bytes) -> Any:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:  # not written by this application; the value is computed again
        return None
    return value if isinstance(value, list) and len(value) == 1 else None


class TagsMissing(RuntimeError):
    """The endpoint does not name all the tags of a memoized value, so its cached responses could be outdated."""


@dataclass(slots=True)
class RequestValues:
    """The stamps of one read, from its lookup, and the cache in which its values are found under them."""

    cache: StampedCache
    ttl_s: float
    # The key of the cached response (``ask.lua``), the digest in it, and the names of the stamps at its end.
    response_key: bytes
    digest: str
    names: Collection[str]
    _prefix: str = ""
    _dates: str = ""
    _stamps: dict[str, str] = field(default_factory=dict)

    def key(self, name: str, which: str, names: Collection[str]) -> str:
        """Return the key of a value that depends on the stamps with these names.

        It also has the dates of the response's key, because what a query shows may depend on today's date.

        :raises TagsMissing: the endpoint does not depend on one of the stamps.
        """
        if not self._prefix:
            self._parse()
        if missing := [stamp for stamp in names if stamp not in self._stamps]:
            raise TagsMissing(f"{name} depends on {missing}, which the endpoint does not name in its tags")
        stamps = ",".join([self._stamps[stamp] for stamp in names])
        return f"{self._prefix}:{name}:{which}:{self._dates}{_STAMPS}{stamps}"

    def _parse(self) -> None:
        """Parse ``answer:<space>:<organization>:<view>:<digest>:<stamps>``; the view ends with two dates."""
        head, _, stamps = self.response_key.decode().rpartition(f":{self.digest}:")
        _, space, organization, view = head.split(":", 3)
        self._dates = ":".join(view.rsplit(":", 2)[1:])
        self._stamps = dict(zip(self.names, stamps.split(","), strict=True))
        self._prefix = f"value:{space}:{organization}"


def value_cache(app: Flask) -> StampedCache:
    """Register the backend with Flask-Caching, and return it.

    Flask-Caching's own object finds its backend through ``current_app``, which a read on the fast path does not have.
    """
    cache = Cache(with_jinja2_ext=False)
    cache.init_app(app, {"CACHE_TYPE": f"{__name__}.{StampedCache.__name__}"})
    backend: StampedCache = app.extensions["cache"][cache]
    return backend
