"""The named rate limits, applied by flask-limiter: of anonymous clients, sign-ins and costly endpoints.

They are counted in the cache Redis, and in the process while Redis is unavailable. The process then checks for Redis
after 1, 2, 4, and at most 32 seconds. Authenticated requests to endpoints without limits of their own are not counted
here, but by ``per_caller``.
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

from campshub.config import Settings, read_limit
from campshub.core.http.decorators import EndpointOptions
from campshub.core.http.middleware import PROBES
from campshub.core.http.rate_limits.per_caller import Policy, policies, refusal
from campshub.core.ip_addresses import customer_of
from campshub.core.redis.connection import Cache, CacheUnavailable
from campshub.core.redis.limits import CacheStorage

# The documentation page makes six requests; its readers must not use up the anonymous limit of the API.
_DOCUMENTATION_TIMES = 10
# All users behind one IP address download files by links.
_FILES_TIMES = 20


class EndpointLimits:
    """The named limits; ``HttpServices`` has the one instance."""

    def __init__(self, settings: Settings, cache: Cache) -> None:
        self._secret = settings.secret_key.encode()[:64]
        self._limiter = Limiter(
            lambda: str(g.rate_limit_key),
            strategy="moving-window",
            storage_uri=f"{CacheStorage.STORAGE_SCHEME[0]}://",
            storage_options={"cache": cache},  # type: ignore[dict-item] # our own storage takes it
            # Both are needed: the first keeps these limits when Redis fails, the second prevents an error response
            # when the library fails in its own recovery. A list of fallback limits would replace every limit.
            in_memory_fallback_enabled=True,
            swallow_errors=True,
            request_identifier=lambda: "any",  # also if the request has no IP address
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
        """Count anonymous requests to every URL.

        flask-limiter adds hooks to every request, unless it finds itself registered already.
        """
        app.extensions.setdefault("limiter", set()).add(self._limiter)
        self._limiter.init_app(app)
        app.before_request(self._count_anonymous_request)

    def count_endpoint(self, options: EndpointOptions, parameters: Mapping[str, Any]) -> None:
        """Count a request against its endpoint's own limits: per user, and per value of its body.

        :raises RateLimited: one of them is used up.
        """
        for limited in options.limits:
            if limited.by is not None:
                self._count(limited.name, f"{limited.name}:{self._pseudonym(limited.by(parameters))}")
            elif not options.is_public:
                self._count_and_add_headers(limited.name, f"user:{g.get('api_key_id') or g.user_id}")

    def count_anonymous(self) -> None:
        """Count a request with an unknown API key as an anonymous request of its IP address.

        :raises RateLimited: the IP address has used up the anonymous limit.
        """
        self._count_and_add_headers("anonymous", _address())

    def _count_anonymous_request(self) -> None:
        if request.environ.get("HTTP_AUTHORIZATION") and request.endpoint not in self._public_routes:
            return
        for name in self._anonymous_limits():
            self._count_and_add_headers(name, _address())

    def _anonymous_limits(self) -> list[str]:
        """Return the names of the limits, per IP address, that count this request."""
        # OPTIONS is a preflight, which browsers send without a token.
        if request.method == "OPTIONS" or f"{request.path.rstrip('/')}/" in PROBES:
            return []
        if request.blueprint == "docs":
            return ["documentation"]
        resource = getattr(current_app.view_functions.get(request.endpoint or ""), "view_class", None)
        endpoint = resource and resource.endpoints.get("GET" if request.method == "HEAD" else request.method)
        if endpoint is None or not endpoint.options.is_public:
            return ["anonymous"]
        return [limited.name for limited in endpoint.options.limits if limited.by is None] or ["anonymous"]

    @cached_property
    def _public_routes(self) -> frozenset[str]:
        """The names of routes with a public endpoint, and of those outside the API: a token does not exempt them."""
        found = {name: getattr(view, "view_class", None) for name, view in current_app.view_functions.items()}
        return frozenset(
            name
            for name, resource in found.items()
            if resource is None or any(endpoint.options.is_public for endpoint in resource.endpoints.values())
        )

    def _gate(self, policy: Policy) -> Callable[[], None]:
        """Declare one limit; the returned function counts a request, and raises if the limit is used up."""

        def gate() -> None:
            """Do nothing: the decorator counts and raises."""

        gate.__name__ = policy.name  # the library identifies limits by the name of the function
        limit = f"{policy.quota} per {policy.window_s} second"
        return self._limiter.shared_limit(limit, scope=policy.name)(gate)

    def _count_and_add_headers(self, name: str, key: str) -> None:
        """Count one request against a limit of the caller, and add its state to the response headers."""
        self._count(name, key)
        headers = _headers(self.policies[name], *self._window(self.policies[name]))
        after_this_request(lambda response: _add_headers(response, headers))

    def _count(self, name: str, key: str) -> None:
        """Count one request against a limit.

        :raises RateLimited: the limit is used up.
        """
        policy = self.policies[name]
        g.rate_limit_key = key
        try:
            self._gates[name]()
        except RateLimitExceeded:
            wait_s = self._window(policy)[1]
            headers = {**_headers(policy, 0, wait_s), "Retry-After": f"{wait_s}"}
            raise refusal(policy, wait_s, headers) from None

    def _window(self, policy: Policy) -> tuple[int, int]:
        """Return the number of remaining requests, and the seconds until one more is allowed."""
        limit = self._limiter.current_limit
        try:
            reset, remaining = limit.window if limit else (time.time() + policy.window_s, 0)
        except (CacheUnavailable, redis.RedisError):  # it has just become unavailable
            reset, remaining = time.time() + policy.window_s, 0
        return max(0, remaining), min(policy.window_s, max(1, math.ceil(reset - time.time())))

    def _pseudonym(self, name: str) -> str:
        """Return a keyed hash of a person's name, which is stored in Redis instead of the name."""
        return hashlib.blake2b(name.encode(), key=self._secret, digest_size=16).hexdigest()


def _address() -> str:
    """Return the key of the client's IP address; addresses of one customer network share a key."""
    return f"address:{customer_of(request.remote_addr)}"


def _headers(policy: Policy, remaining: int, reset_s: int) -> dict[str, str]:
    return {
        "RateLimit": f'"{policy.name}";r={remaining};t={reset_s}',
        "RateLimit-Policy": policies(policy),
    }


def _add_headers(response: Response, headers: dict[str, str]) -> Response:
    """Add the headers of a limit; the values of several limits are joined to one list."""
    for name, value in headers.items():
        response.headers[name] = f"{response.headers[name]}, {value}" if name in response.headers else value
    return response
