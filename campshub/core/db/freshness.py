"""The seam of freshness: what a replica must have replayed before it may answer for an organization.

For each organization the cache Redis keeps the WAL position of its last commit. It is removed before a commit and set
after it, so that while a write is on its way, or when Redis knows nothing, reads go to the primary.
"""

from typing import Any
from uuid import UUID

from campshub.core.cache.connection import Cache, CacheAway

# Two writers may finish in either order: the greater position stays.
_RAISE = """
local have = redis.call('GET', KEYS[1])
local function number(lsn)
  local high, low = string.match(lsn, '(%x+)/(%x+)')
  return tonumber(high, 16) * 4294967296 + tonumber(low, 16)
end
if not have or number(have) < number(ARGV[1]) then redis.call('SET', KEYS[1], ARGV[1]) end
"""


class Freshness:
    """The last known WAL position of each organization."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._raise: Any = cache.client.register_script(_RAISE)

    def needed(self, organization_id: UUID) -> str | None:
        """Return the position that a replica must have replayed; None means: ask the primary."""
        try:
            found = self._cache.ask(lambda client: client.get(_key(organization_id)))
        except CacheAway:
            return None
        return found.decode() if found else None

    def begin(self, organizations: set[UUID]) -> None:
        """Send the organizations' reads to the primary until their write has ended."""
        self._quietly(lambda client: client.delete(*map(_key, organizations)))

    def end(self, organizations: set[UUID], lsn: str) -> None:
        """Let replicas that have replayed a position answer again."""
        for organization_id in organizations:
            self._quietly(lambda _, key=_key(organization_id): self._raise(keys=[key], args=[lsn]))

    def _quietly(self, question: Any) -> None:
        try:
            self._cache.ask(question)
        except CacheAway:
            return  # readers without Redis are at the primary already


def _key(organization_id: UUID) -> str:
    return f"lsn:{organization_id}"
