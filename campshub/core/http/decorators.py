"""Decorators that set the options of an endpoint. The dispatcher compiles the options once, at start.

Access is denied by default: the application does not start if an endpoint has neither ``needs`` nor ``public``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from email.utils import format_datetime
from enum import StrEnum
from typing import Any, Literal, TypeVar

from marshmallow import Schema

from campshub.core.errors import Problem
from campshub.core.security.permissions import Permission

H = TypeVar("H", bound=Callable[..., Any])
RELEVANCE = "relevance"
MIB = 1024 * 1024
LimitName = Literal["files", "login", "login_address", "refresh", "chat", "generation"]


@dataclass(frozen=True)
class EndpointLimit:
    """A named rate limit of one endpoint."""

    name: LimitName
    by: Callable[[Mapping[str, Any]], str] | None


class CacheLifetime(StrEnum):
    """How long a response stays in the cache; the stamps decide whether it is current."""

    DATA = "data"
    ANALYTICS = "analytics"
    STATISTICS = "statistics"


@dataclass(frozen=True)
class CachePolicy:
    """How the responses of an endpoint are cached: the tags it reads, the TTL, and whether a role shares them."""

    tags: tuple[str, ...]
    lifetime: CacheLifetime = CacheLifetime.DATA
    same_for_role: bool = False


@dataclass(frozen=True)
class Deprecation:
    """Since when an operation is deprecated, when it ends, and what replaces it."""

    since: date
    sunset: date
    instead: str

    @property
    def sentence(self) -> str:
        """The notice in the OpenAPI document."""
        return f"**Deprecated** since {self.since}, ends on {self.sunset}. Instead: {self.instead}"

    def headers(self) -> list[tuple[str, str]]:
        """Return the headers of every response (RFC 9745, RFC 8594)."""
        since, sunset = (datetime.combine(day, time(), UTC) for day in (self.since, self.sunset))
        return [("Deprecation", f"@{int(since.timestamp())}"), ("Sunset", format_datetime(sunset, usegmt=True))]


@dataclass
class EndpointOptions:
    """Everything that the decorators set for one endpoint."""

    permission: Permission | None = None
    is_public: bool = False
    query: type[Schema] | None = None
    body: type[Schema] | None = None
    most_bytes: int = MIB
    answer: type[Schema] | None = None
    status: int = 200
    is_page: bool = False
    # The response is a file of one of these media types.
    media_types: tuple[str, ...] = ()
    sorts: Sequence[str] = ("id",)
    raises: tuple[type[Problem], ...] = field(default_factory=tuple)
    is_secret: bool = False
    is_system: bool = False
    cache_policy: CachePolicy | None = None
    # Properties that a response contains only if `include` names them, with the further tags that they depend on.
    included: Mapping[str, Sequence[str]] = field(default_factory=dict)
    limits: tuple[EndpointLimit, ...] = ()
    # The operation id, if the name of the resource does not give one (see ``openapi.document``).
    operation: str | None = None
    deprecation: Deprecation | None = None

    def default_sort(self, filters: Mapping[str, Any]) -> str:
        """Return the default order of a page: by relevance for a search, if the endpoint supports that."""
        return RELEVANCE if RELEVANCE in self.sorts and filters.get("q") else self.sorts[0]


def options_of(function: Any) -> EndpointOptions:
    """Return the options of an endpoint's function; create them if there are none."""
    if "__endpoint_options__" not in function.__dict__:
        function.__endpoint_options__ = EndpointOptions()
    options: EndpointOptions = function.__endpoint_options__
    return options


def _set_options(**values: Any) -> Callable[[H], H]:
    def decorate(function: H) -> H:
        options = options_of(function)
        for name, value in values.items():
            setattr(options, name, value)
        return function

    return decorate


def needs(permission: Permission) -> Callable[[H], H]:
    """Allow only callers with a permission."""
    return _set_options(permission=permission)


def public(function: H) -> H:
    """Allow all clients, authenticated or not."""
    return _set_options(is_public=True)(function)


def secret(function: H) -> H:
    """Declare that the response is a secret, which is not stored for an Idempotency-Key."""
    return _set_options(is_secret=True)(function)


def as_system(function: H) -> H:
    """Run an endpoint across organizations, under the database role that bypasses row-level security."""
    return _set_options(is_system=True)(function)


def cached(
    *, tags: Sequence[str], lifetime: CacheLifetime = CacheLifetime.DATA, same_for_role: bool = False
) -> Callable[[H], H]:
    """Cache the responses of an endpoint; ``tags`` has the tags of all tables that it reads.

    A cached response is for its caller only. With ``same_for_role``, all callers with the same permissions who see the
    whole organization share it.
    """
    return _set_options(cache_policy=CachePolicy(tuple(tags), lifetime, same_for_role))


def includes(properties: Mapping[str, Sequence[str]]) -> Callable[[H], H]:
    """Leave properties out of a response, unless the query parameter ``include`` names them.

    :param properties: by name, the tags that the property needs beside those of ``cached``. So a write to one of these
        tables makes only responses with the property outdated.
    """
    return _set_options(included=properties)


def limited(name: LimitName, *, by: Callable[[Mapping[str, Any]], str] | None = None) -> Callable[[H], H]:
    """Apply a named rate limit (``rate_limits.per_endpoint``), by the value that ``by`` returns for the body.

    Without ``by``, requests are counted per user, or on a public endpoint per IP address. Such a limit of a public
    endpoint replaces the anonymous limit.
    """

    def decorate(function: H) -> H:
        options = options_of(function)
        options.limits = (*options.limits, EndpointLimit(name, by))
        return function

    return decorate


def named(operation: str) -> Callable[[H], H]:
    """Set the operation id, if it does not follow from the name of the resource."""
    return _set_options(operation=operation)


def deprecated(*, since: date, sunset: date, instead: str) -> Callable[[H], H]:
    """Deprecate an operation: in the OpenAPI document, and with the headers ``Deprecation`` and ``Sunset``.

    ``instead`` is a sentence that names the replacement. docs/versions.md says how long an operation stays.
    """
    return _set_options(deprecation=Deprecation(since, sunset, instead))


def query(schema: type[Schema]) -> Callable[[H], H]:
    """Set the schema of the query parameters."""
    return _set_options(query=schema)


def body(schema: type[Schema], *, most_mib: int = 1) -> Callable[[H], H]:
    """Set the schema and the maximum size of the request body."""
    return _set_options(body=schema, most_bytes=most_mib * MIB)


def answers(
    schema: type[Schema] | None, *, status: int = 200, raises: Sequence[type[Problem]] = ()
) -> Callable[[H], H]:
    """Set the schema and status of the response, and the problems for the OpenAPI document."""
    return _set_options(answer=schema, status=status, raises=tuple(raises))


def answers_page(
    schema: type[Schema], *, sorts: Sequence[str], raises: Sequence[type[Problem]] = ()
) -> Callable[[H], H]:
    """Set the schema of the items of a page, and the orders that it supports, the default one first."""
    return _set_options(answer=schema, is_page=True, sorts=sorts, raises=tuple(raises))


def answers_file(*media_types: str, raises: Sequence[type[Problem]] = ()) -> Callable[[H], H]:
    """Declare that the response is a ``Download`` of one of these media types."""
    return _set_options(media_types=media_types, raises=tuple(raises))
