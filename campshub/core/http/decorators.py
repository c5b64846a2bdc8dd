"""Marks: what a handler says of itself. They only mark; the edge reads them once, at start.

Deny unless said: a handler with neither ``needs`` nor ``public`` stops the start.
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
    """A declared limit that holds for one handler."""

    name: LimitName
    by: Callable[[Mapping[str, Any]], str] | None


class CacheLifetime(StrEnum):
    """How long a finished answer takes room when nobody asks for it; how long it is true, the stamps say."""

    DATA = "data"
    ANALYTICS = "analytics"
    STATISTICS = "statistics"


@dataclass(frozen=True)
class CachePolicy:
    """How a handler's finished answers are kept: what they are made of, and whether a whole role shares them."""

    tags: tuple[str, ...]
    life: CacheLifetime = CacheLifetime.DATA
    same_for_role: bool = False


@dataclass(frozen=True)
class Deprecation:
    """Since when an operation is deprecated, when it ends, and what replaces it."""

    since: date
    sunset: date
    instead: str

    @property
    def sentence(self) -> str:
        """The notice in the document."""
        return f"**Deprecated** since {self.since}, ends on {self.sunset}. Instead: {self.instead}"

    def headers(self) -> list[tuple[str, str]]:
        """Return the headers of every response (RFC 9745, RFC 8594)."""
        since, sunset = (datetime.combine(day, time(), UTC) for day in (self.since, self.sunset))
        return [("Deprecation", f"@{int(since.timestamp())}"), ("Sunset", format_datetime(sunset, usegmt=True))]


@dataclass
class EndpointOptions:
    """Everything that decorators have said of one handler."""

    permission: Permission | None = None
    is_public: bool = False
    query: type[Schema] | None = None
    body: type[Schema] | None = None
    most_bytes: int = MIB
    answer: type[Schema] | None = None
    status: int = 200
    is_page: bool = False
    # Answers a file, of one of these media types.
    media_types: tuple[str, ...] = ()
    sorts: Sequence[str] = ("id",)
    raises: tuple[type[Problem], ...] = field(default_factory=tuple)
    is_secret: bool = False
    is_system: bool = False
    cache_policy: CachePolicy | None = None
    limits: tuple[EndpointLimit, ...] = ()
    # The operation's id where the name of its resource does not give one (``naming``).
    operation: str | None = None
    deprecation: Deprecation | None = None

    def default_sort(self, filters: Mapping[str, Any]) -> str:
        """Return the order of a page for which none is given: of a search, where there is one, what fits best first."""
        return RELEVANCE if RELEVANCE in self.sorts and filters.get("q") else self.sorts[0]


def options_of(handler: Any) -> EndpointOptions:
    """Return a handler's mark, a new one where it has none."""
    if "__mark__" not in handler.__dict__:
        handler.__mark__ = EndpointOptions()
    mark: EndpointOptions = handler.__mark__
    return mark


def _marking(**said: Any) -> Callable[[H], H]:
    def decorate(handler: H) -> H:
        mark = options_of(handler)
        for name, value in said.items():
            setattr(mark, name, value)
        return handler

    return decorate


def needs(permission: Permission) -> Callable[[H], H]:
    """Mark a handler as for those who have a permission."""
    return _marking(permission=permission)


def public(handler: H) -> H:
    """Mark a handler as for everyone, signed in or not."""
    return _marking(is_public=True)(handler)


def secret(handler: H) -> H:
    """Mark a handler whose answer is a secret: it is never kept for an Idempotency-Key."""
    return _marking(is_secret=True)(handler)


def as_system(handler: H) -> H:
    """Mark a handler that works across organizations, under the role that bypasses tenancy."""
    return _marking(is_system=True)(handler)


def cached(
    *, tags: Sequence[str], life: CacheLifetime = CacheLifetime.DATA, same_for_role: bool = False
) -> Callable[[H], H]:
    """Mark a handler whose finished answers are kept: ``tags`` names all that it reads.

    An answer belongs to its caller; with ``same_for_role``, to everyone of a role that sees the whole organization.
    """
    return _marking(cache_policy=CachePolicy(tuple(tags), life, same_for_role))


def limited(name: LimitName, *, by: Callable[[Mapping[str, Any]], str] | None = None) -> Callable[[H], H]:
    """Mark a handler as under a declared limit (``declared``): by what ``by`` finds in the body, else by who asks.

    Who asks is the user, and where everyone may ask the address; such a limit then stands instead of the anonymous one.
    """

    def decorate(handler: H) -> H:
        mark = options_of(handler)
        mark.limits = (*mark.limits, EndpointLimit(name, by))
        return handler

    return decorate


def named(operation: str) -> Callable[[H], H]:
    """Name an operation whose id does not follow from the name of its resource."""
    return _marking(operation=operation)


def deprecated(*, since: date, sunset: date, instead: str) -> Callable[[H], H]:
    """Mark an operation as deprecated: the document says so, and each response carries ``Deprecation`` and ``Sunset``.

    ``instead`` is a sentence that names what replaces it. docs/versions.md says how long an operation stays.
    """
    return _marking(deprecation=Deprecation(since, sunset, instead))


def query(schema: type[Schema]) -> Callable[[H], H]:
    """Mark the parameters that a handler takes."""
    return _marking(query=schema)


def body(schema: type[Schema], *, most_mib: int = 1) -> Callable[[H], H]:
    """Mark the body that a handler takes, and how large it may be."""
    return _marking(body=schema, most_bytes=most_mib * MIB)


def answers(
    schema: type[Schema] | None, *, status: int = 200, raises: Sequence[type[Problem]] = ()
) -> Callable[[H], H]:
    """Mark what a handler answers, and which refusals its document lists."""
    return _marking(answer=schema, status=status, raises=tuple(raises))


def answers_page(
    schema: type[Schema], *, sorts: Sequence[str], raises: Sequence[type[Problem]] = ()
) -> Callable[[H], H]:
    """Mark a handler that answers pages, and the orders that it knows, the usual one first."""
    return _marking(answer=schema, is_page=True, sorts=sorts, raises=tuple(raises))


def answers_file(*media_types: str, raises: Sequence[type[Problem]] = ()) -> Callable[[H], H]:
    """Mark a handler that answers a ``Download``."""
    return _marking(media_types=media_types, raises=tuple(raises))
