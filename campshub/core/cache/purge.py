"""Drop unreachable keys: stamps in the space of an identity that no longer exists (``scripts/common.lua``).

A space is a random value that is never used again, so its keys can be dropped without coordination. The order matters:
first read the keys, then the identities. An identity is stored before any key in its space, so the second read also
finds an identity that was created meanwhile.
"""

from collections.abc import Iterator
from typing import Any

import redis

from campshub.core.redis.connection import CacheUnavailable

ANSWER_WITHIN_S = 5.0
_AT_ONCE = 1_000
_IN_SPACES = ("stamp:*", "pending:*")


def purge_former_identities(url: str) -> int:
    """Drop the stamps and pending entries of former identities from one cache Redis; return their number.

    :raises CacheUnavailable: it does not reply.
    """
    client = redis.Redis.from_url(
        url, socket_timeout=ANSWER_WITHIN_S, socket_connect_timeout=ANSWER_WITHIN_S, single_connection_client=True
    )
    try:
        with client:
            return _swept(client)
    except redis.RedisError as error:
        raise CacheUnavailable from error


def _swept(client: Any) -> int:
    spaces = {_space_of(name) for name in _names(client)}
    former = spaces - _present(client)
    if not former:
        return 0
    count: int = 0
    with client.pipeline(transaction=False) as calls:
        for name in _names(client):
            if _space_of(name) in former:
                calls.unlink(name)
            if len(calls) == _AT_ONCE:
                count += sum(calls.execute())
        count += sum(calls.execute())
    return count


def _names(client: Any) -> Iterator[bytes]:
    for pattern in _IN_SPACES:
        yield from client.scan_iter(match=pattern, count=_AT_ONCE)


def _present(client: Any) -> set[bytes]:
    """Return the spaces of the current identities: one for each primary that uses this Redis."""
    values = [client.get(name) for name in client.scan_iter(match="identity:*", count=_AT_ONCE)]
    return {value.split(b":")[1] for value in values if value is not None}


def _space_of(name: bytes) -> bytes:
    return name.split(b":", 2)[1]
