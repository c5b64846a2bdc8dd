"""The seam of freshness: what a replica must have replayed before it may answer for an organization.

For each organization the cache Redis keeps the WAL position of its last commit. A write marks the organization before
its commit and puts the position there after it, so that while a write is on its way, or when Redis knows nothing,
reads go to the primary. A read that went there for want of a position offers one; it is taken only where there is
neither a position nor a writer's mark, unless the mark is older than any commit takes: its writer has crashed.
"""

from typing import Any
from uuid import UUID

from campshub.core.cache.connection import Cache, CacheAway

LONGEST_COMMIT_S = 60

_MARK = """
local until_s = tonumber(redis.call('TIME')[1]) + tonumber(ARGV[1])
for _, key in ipairs(KEYS) do redis.call('SET', key, 'writing:' .. string.format('%d', until_s)) end
"""
# Two writers may finish in either order: the greater position stays.
_RAISE = """
local function number(lsn)
  local high, low = string.match(lsn, '^(%x+)/(%x+)$')
  return high and tonumber(high, 16) * 4294967296 + tonumber(low, 16) or -1
end
for _, key in ipairs(KEYS) do
  local have = redis.call('GET', key)
  if not have or number(have) < number(ARGV[1]) then redis.call('SET', key, ARGV[1]) end
end
"""
_OFFER = """
local have = redis.call('GET', KEYS[1])
local until_s = have and tonumber(string.match(have, '^writing:(%d+)$'))
if not have or until_s and until_s < tonumber(redis.call('TIME')[1]) then redis.call('SET', KEYS[1], ARGV[1]) end
"""


class Freshness:
    """The last known WAL position of each organization."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._mark: Any = cache.client.register_script(_MARK)
        self._raise: Any = cache.client.register_script(_RAISE)
        self._offer: Any = cache.client.register_script(_OFFER)

    def needed(self, organization_id: UUID) -> str | None:
        """Return the position that a replica must have replayed; None means: ask the primary."""
        try:
            found = self._cache.ask(lambda client: client.get(_key(organization_id)))
        except CacheAway:
            return None
        return found.decode() if found and b"/" in found else None

    def begin(self, organizations: set[UUID]) -> None:
        """Send the organizations' reads to the primary until their write has ended."""
        self._quietly(lambda _: self._mark(keys=[*map(_key, organizations)], args=[LONGEST_COMMIT_S]))

    def end(self, organizations: set[UUID], lsn: str) -> None:
        """Let replicas that have replayed a position answer again."""
        self._quietly(lambda _: self._raise(keys=[*map(_key, organizations)], args=[lsn]))

    def offer(self, organization_id: UUID, lsn: str) -> None:
        """Put down a position that the primary has just told, where none is known and no write is on its way."""
        self._quietly(lambda _: self._offer(keys=[_key(organization_id)], args=[lsn]))

    def _quietly(self, question: Any) -> None:
        try:
            self._cache.ask(question)
        except CacheAway:
            return  # readers without Redis are at the primary already


def _key(organization_id: UUID) -> str:
    return f"lsn:{organization_id}"
