"""Reads whose results are cached under the stamps of the tags that they depend on, for all endpoints that call them.

A response names everything that it shows, so any write to one of its tags invalidates it. A part of it may depend on
fewer tags, or be the same for callers whose responses differ. Such a part is a function of a session, a principal and
arguments, decorated with ``memoized``.

A value is cached only during a read that may use cached responses: its lookup is trusted and its endpoint has tags. A
write, a job, a command and a read without valid stamps call the function, and store nothing.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import orjson

from campshub.core import json
from campshub.core.cache.values import RequestValues
from campshub.core.db.prepared import QueryArgument
from campshub.core.db.session import Session
from campshub.core.security.permissions import Scope
from campshub.core.security.principal import Principal, stamp_names

# What a function may know about its caller. Callers for whom it is the same share the value.
Key = Callable[[Principal], Principal | None]


def everyone(principal: Principal) -> Principal:
    """Share a value in the organization: it depends neither on the user nor on the role."""
    return principal.without_user(Scope.OWN)


def whole_organization(principal: Principal) -> Principal | None:
    """Share a value among the callers who see the whole organization; for others nothing is cached."""
    return principal.without_user(Scope.ALL) if principal.scope is Scope.ALL else None


class Memoized:
    """A function whose results are cached; they are JSON values, also when they were computed just now."""

    def __init__(self, function: Callable[..., Any], tags: Sequence[str], key: Key) -> None:
        self.function = function
        self.tags = tuple(tags)
        self._key = key
        # A new release does not use the values of the previous one, which may have another form.
        self._release = hashlib.blake2b(Path(function.__code__.co_filename).read_bytes(), digest_size=4).hexdigest()
        self.name = f"{function.__module__.removeprefix('campshub.')}.{function.__name__.lstrip('_')}"
        self.__doc__, self.__name__ = function.__doc__, function.__name__

    def __call__(self, session: Session, principal: Principal, **arguments: Any) -> Any:
        """Return the cached value, or call the function.

        :raises TagsMissing: the endpoint does not name all the tags of the value.
        """
        shared = self._key(principal)
        values = _values_of(session)
        if shared is None or values is None:
            return _plain(self.function(session, shared or principal, **arguments))
        which = f"{self._release}:{shared.scope}:{_digest(arguments)}"
        key = values.key(self.name, which, stamp_names(str(shared.organization_id), self.tags))
        cached = values.cache.get(key)
        if cached is not None:
            return cached[0]
        return self._compute(values, key, lambda: self.function(session, shared, **arguments))

    def _compute(self, values: RequestValues, key: str, compute: Callable[[], Any]) -> Any:
        """Compute and store a value; concurrent requests of the process wait for the first one."""
        with values.cache.responses.flight(key.encode()) as (flight, is_leader):
            if not is_leader and flight.found is not None:
                return orjson.loads(flight.found)
            value = _plain(compute())
            values.cache.set(key, value, timeout=int(values.ttl_s))
            flight.found = orjson.dumps(value)
            return value


def memoized(*, tags: Sequence[str], key: Key) -> Callable[[Callable[..., Any]], Memoized]:
    """Cache the results of a function of ``(session, principal, *, ...)`` under the stamps of ``tags``.

    :param tags: the tags of all tables that it reads; every endpoint that calls it names them too.
    :param key: which callers share a value (``everyone``, ``whole_organization``). The function gets a principal with
        nothing but the organization and a scope, so its result cannot depend on anything else of the caller.
    """
    return lambda function: Memoized(function, tags, key)


def _values_of(session: Session) -> RequestValues | None:
    """Return the cached values that a unit of work may use; None if it writes, or its stamps cannot be trusted."""
    unit = session.unit
    return unit.values if unit.read_only else None


def _plain(value: Any) -> Any:
    return orjson.loads(json.write(value))


def _digest(arguments: dict[str, Any]) -> str:
    return hashlib.blake2b(
        orjson.dumps(arguments, default=_part, option=orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_DATACLASS),
        digest_size=12,
    ).hexdigest()


def _part(argument: Any) -> Any:
    """Return what a value depends on in an argument: of a page, the text and the values of its statement."""
    if isinstance(argument, QueryArgument):
        return [argument.shape(), argument.values()]
    if isinstance(argument, frozenset):
        return sorted(argument)
    if isinstance(argument, Iterable):
        return list(argument)
    raise TypeError(f"a memoized function takes no {type(argument).__name__}")
