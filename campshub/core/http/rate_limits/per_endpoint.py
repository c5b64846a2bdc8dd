"""The limits of what is rare, declared by name and applied by flask-limiter: strangers, sign-ins, costly work.

They are counted in the cache Redis, and in the process while it is away; a process that has gone over to itself looks
for Redis after 1, 2, 4, and at most 32 seconds. A request that is signed in, and whose handler has no limit of its own,
never comes here: ``limits`` counts it.
"""

import hashlib
import math
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import redis
from flask import Flask, Response, after_this_request, current_app, g, request
from flask_limiter import Limiter, RateLimitExceeded
from limits.storage import RedisStorage

from campshub.config import Settings, read_limit
from campshub.core.http.decorators import EndpointOptions
from campshub.core.http.middleware import PROBES
from campshub.core.http.rate_limits.per_caller import Policy, policies, refusal
from campshub.core.ip_addresses import customer
from campshub.core.redis.connection import Cache, CacheUnavailable

# The documentation's page is six requests; whoever reads it must not be a stranger to the API for the next hour.
_DOCUMENTATION_TIMES = 10
# Everybody behind one address fetches files by links.
_FILES_TIMES = 20


class _CacheStorage(RedisStorage):
    """Counts in the cache Redis over its own connections, and leaves it alone for as long as they do."""

    STORAGE_SCHEME = ["campshub"]  # noqa: RUF012 - the library's own form

    def __init__(self, uri: str, *, cache: Any, **options: Any) -> None:
        super().__init__(uri, connection_pool=cache.client.connection_pool, **options)
        self._cache: Cache = cache

    def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count, where there is room."""
        return bool(self._cache.ask(lambda _: super(_CacheStorage, self).acquire_entry(key, limit, expiry, amount)))

    def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """Return when the oldest request was, and how many there are."""
        found: tuple[float, int] = self._cache.ask(
            lambda _: super(_CacheStorage, self).get_moving_window(key, limit, expiry)
        )
        return found

    def check(self) -> bool:
        """Tell whether Redis is there again."""
        try:
            return bool(self._cache.ask(lambda client: client.ping()))
        except CacheUnavailable:
            return False


class EndpointLimits:
    """The declared limits; ``HttpServices`` holds them."""

    def __init__(self, settings: Settings, cache: Cache) -> None:
        self._secret = settings.secret_key.encode()[:64]
        self._limiter = Limiter(
            lambda: str(g.limited_as),
            strategy="moving-window",
            storage_uri="campshub://",
            storage_options={"cache": cache},  # type: ignore[dict-item] # our own storage takes it
            # Both are needed: the first keeps these limits when Redis fails, the second keeps the answer when the
            # library fails in its own recovery. A list of fallback limits would replace every limit.
            in_memory_fallback_enabled=True,
            swallow_errors=True,
            request_identifier=lambda: "any",  # also where there is no such address
        )
        anonymous, hour_s = read_limit(settings.rate_limit_anonymous)
        self.policies = {
            "anonymous": Policy("anonymous", anonymous, hour_s),
            "documentation": Policy("documentation", anonymous * _DOCUMENTATION_TIMES, hour_s),
            "files": Policy("files", anonymous * _FILES_TIMES, hour_s),
            "login": Policy("login", *read_limit(settings.rate_limit_login)),
            "login_address": Policy("login_address", *read_limit(settings.rate_limit_login_address)),
            "refresh": Policy("refresh", *read_limit(settings.rate_limit_refresh)),
            "chat": Policy("chat", *read_limit(settings.rate_limit_chat)),
            "generation": Policy("generation", *read_limit(settings.rate_limit_generation)),
        }
        self._gates = {name: self._gate(policy) for name, policy in self.policies.items()}

    def init_app(self, app: Flask) -> None:
        """Count those whom nobody knows, at each address that they may ask.

        flask-limiter adds hooks that look at every request, unless it finds itself noted already.
        """
        app.extensions.setdefault("limiter", set()).add(self._limiter)
        self._limiter.init_app(app)
        app.before_request(self._count_stranger)

    def count_marked(self, options: EndpointOptions, given: Mapping[str, Any]) -> None:
        """Count a request against its handler's own limits: those of a user, and of what its body names.

        :raises RateLimited: one is used up.
        """
        for limited in options.limits:
            if limited.by is not None:
                self._count(limited.name, f"{limited.name}:{self._hidden(limited.by(given))}")
            elif not options.is_public:
                self._count_and_tell(limited.name, f"user:{g.get('api_key_id') or g.user_id}")

    def count_anonymous(self) -> None:
        """Count a request that came with a key of nobody's, as one of the address that it came from.

        :raises RateLimited: the address has used up what strangers may ask.
        """
        self._count_and_tell("anonymous", _address())

    def _count_stranger(self) -> None:
        if request.environ.get("HTTP_AUTHORIZATION") and request.endpoint not in self._open:
            return
        for name in self._names_of_stranger():
            self._count_and_tell(name, _address())

    def _names_of_stranger(self) -> list[str]:
        """Return the limits that this request counts in, by its address."""
        # Browsers ask beforehand with OPTIONS, and never say who they are.
        if request.method == "OPTIONS" or f"{request.path.rstrip('/')}/" in PROBES:
            return []
        if request.blueprint == "docs":
            return ["documentation"]
        handlers = getattr(current_app.view_functions.get(request.endpoint or ""), "view_class", None)
        endpoint = handlers and handlers.handlers.get("GET" if request.method == "HEAD" else request.method)
        if endpoint is None or not endpoint.options.is_public:
            return ["anonymous"]
        return [limited.name for limited in endpoint.options.limits if limited.by is None] or ["anonymous"]

    @cached_property
    def _open(self) -> frozenset[str]:
        """The endpoints with something that everyone may ask, whatever they say of themselves."""
        found = {name: getattr(view, "view_class", None) for name, view in current_app.view_functions.items()}
        return frozenset(
            name
            for name, resource in found.items()
            if resource is None or any(endpoint.options.is_public for endpoint in resource.handlers.values())
        )

    def _gate(self, policy: Policy) -> Callable[[], None]:
        """Declare one limit; what comes back raises where it is used up."""

        def gate() -> None:
            """Let through what there is room for."""

        gate.__name__ = policy.name  # the library tells limits apart by their function's name
        limit = f"{policy.quota} per {policy.window_s} second"
        return self._limiter.shared_limit(limit, scope=policy.name)(gate)

    def _count_and_tell(self, name: str, key: str) -> None:
        """Count one request in a limit that is the caller's own, and let the answer say what is left of it."""
        self._count(name, key)
        headers = _headers(self.policies[name], *self._window(self.policies[name]))
        after_this_request(lambda answer: _told(answer, headers))

    def _count(self, name: str, key: str) -> None:
        """Count one request in a limit.

        :raises RateLimited: the limit is used up.
        """
        policy = self.policies[name]
        g.limited_as = key
        try:
            self._gates[name]()
        except RateLimitExceeded:
            wait_s = self._window(policy)[1]
            headers = {**_headers(policy, 0, wait_s), "Retry-After": f"{wait_s}"}
            raise refusal(policy, wait_s, headers) from None

    def _window(self, policy: Policy) -> tuple[int, int]:
        """Return how many requests are left, and the seconds until there is one more."""
        limit = self._limiter.current_limit
        try:
            reset, remaining = limit.window if limit else (time.time() + policy.window_s, 0)
        except (CacheUnavailable, redis.RedisError):  # it went away just now
            reset, remaining = time.time() + policy.window_s, 0
        return max(0, remaining), min(policy.window_s, max(1, math.ceil(reset - time.time())))

    def _hidden(self, name: str) -> str:
        """Return what stands for a person's name in Redis."""
        return hashlib.blake2b(name.encode(), key=self._secret, digest_size=16).hexdigest()


def _address() -> str:
    """Return whom the request's address stands for."""
    return f"address:{customer(request.remote_addr)}"


def _headers(policy: Policy, remaining: int, reset_s: int) -> dict[str, str]:
    return {
        "RateLimit": f'"{policy.name}";r={remaining};t={reset_s}',
        "RateLimit-Policy": policies(policy),
    }


def _told(answer: Response, headers: dict[str, str]) -> Response:
    """Add what a limit says of itself; with several, their values are one list."""
    for name, value in headers.items():
        answer.headers[name] = f"{answer.headers[name]}, {value}" if name in answer.headers else value
    return answer
