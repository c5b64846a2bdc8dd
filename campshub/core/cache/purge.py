"""Delete the stamps and pending entries of former identities, which no process reads any more.

Their keys contain the *space* of the identity, a random value (``core/freshness/scripts/common.lua``). A space is never
used again, so its keys can be deleted without coordination. They have no TTL, unlike cached responses, so nothing else
deletes them. The order matters: first read the keys, then the identities. An identity is stored before any key in its
space, so the second read also finds an identity that was created meanwhile.
"""

from collections.abc import Iterator
from typing import Any

import redis

from campshub.core.redis.connection import CacheUnavailable

_TIMEOUT_S = 5.0
_BATCH_SIZE = 1_000
_KEY_PATTERNS = ("stamp:*", "pending:*")


def purge_former_identities(url: str) -> int:
    """Delete the stamps and pending entries of former identities from one cache Redis; return their number.

    :raises CacheUnavailable: it does not reply.
    """
    client = redis.Redis.from_url(
        url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S, single_connection_client=True
    )
    try:
        with client:
            return _delete_former(client)
    except redis.RedisError as error:
        raise CacheUnavailable from error


def _delete_former(client: Any) -> int:
    spaces = {_space_of(key) for key in _keys(client)}
    former = spaces - _current_spaces(client)
    if not former:
        return 0
    count: int = 0
    with client.pipeline(transaction=False) as calls:
        for key in _keys(client):
            if _space_of(key) in former:
                calls.unlink(key)
            if len(calls) == _BATCH_SIZE:
                count += sum(calls.execute())
        count += sum(calls.execute())
    return count


def _keys(client: Any) -> Iterator[bytes]:
    for pattern in _KEY_PATTERNS:
        yield from client.scan_iter(match=pattern, count=_BATCH_SIZE)


def _current_spaces(client: Any) -> set[bytes]:
    """Return the spaces of the current identities: one for each primary that uses this Redis."""
    # The value is ``run_id:space:milliseconds``.
    values = [client.get(name) for name in client.scan_iter(match="identity:*", count=_BATCH_SIZE)]
    return {value.split(b":")[1] for value in values if value is not None}


def _space_of(key: bytes) -> bytes:
    return key.split(b":", 2)[1]
