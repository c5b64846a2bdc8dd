"""The state of recent callers in their organization, cached under the stamp of the tag ``access``.

The state has the role (or the permissions of a custom role or a key), the session version, the ended sessions, and the
organization's time zone and status. It also has what the caller may see. With today's dates this is the view, a part of
the key of a cached response. Callers share a cached response only if they have the same permissions and see the whole
organization.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

import orjson

from campshub.core.cache.bounded import BoundedMap
from campshub.core.db.session import CallerRow
from campshub.core.security.authorization import granted
from campshub.core.security.permissions import Scope

MOST = 20_000
TTL_S = 300.0
DAY_S = 86_400
# In every zone of the IANA database, clock changes since 1973 are at the start of a UTC minute.
_MINUTE_S = 60
_CACHED_NAMES = (
    "role",
    "session_version",
    "time_zone",
    "organization_status",
    "ended_sessions",
    "permissions",
    "scope",
    "key_permissions",
    "key_scope",
)


@dataclass(frozen=True, slots=True)
class CallerState:
    """A caller's state under one stamp, as the statement that sets the tenant returned it."""

    key: bytes
    seen: str
    offset_s: int
    state: CallerRow

    def is_on_time(self, seconds: int) -> bool:
        """Return whether ``offset_s`` is the offset of the caller's time zone at a time."""
        return self.offset_s == _offset_s(self.state.time_zone or "UTC", seconds // _MINUTE_S)

    def view(self, seconds: int) -> str:
        """Return the view at a time: whose rows the caller sees, and the date in the organization's zone and in UTC."""
        return f"{self.seen}:{(seconds + self.offset_s) // DAY_S}:{seconds // DAY_S}"

    def packed(self) -> bytes:
        """Serialize the state for Redis; ``ask.lua`` reads the first two lines."""
        state = orjson.dumps([getattr(self.state, name) for name in _CACHED_NAMES])
        return f"{self.seen}\n{self.offset_s}\n".encode() + state


def unpacked(key: bytes, packed: bytes) -> CallerState:
    """Parse a state from Redis."""
    seen, offset, state = packed.split(b"\n", 2)
    return CallerState(key, seen.decode(), int(offset), _caller_row(orjson.loads(state)))


def _caller_row(cached: Sequence[Any]) -> CallerRow:
    known = dict(zip(_CACHED_NAMES, cached, strict=False))  # a state from an earlier release has fewer values
    return CallerRow(**known, fresh=True, key_is_free=None, stored_response=None)


@lru_cache(maxsize=4_096)
def _offset_s(time_zone: str, minute: int) -> int:
    """Return the offset of a time zone in seconds during a minute since the epoch."""
    offset = datetime.fromtimestamp(minute * _MINUTE_S, ZoneInfo(time_zone)).utcoffset()
    return int(offset.total_seconds()) if offset is not None else 0


def caller_of(key: bytes, user: str, caller_row: CallerRow, now: datetime) -> CallerState:
    """Return the state of a caller, with the offset of their clock at an instant."""
    state = _caller_row([getattr(caller_row, name) for name in _CACHED_NAMES])
    offset_s = _offset_s(caller_row.time_zone or "UTC", int(now.timestamp()) // _MINUTE_S)
    return CallerState(key, _seen(user, caller_row), offset_s, state)


def _seen(user: str, caller_row: CallerRow) -> str:
    """Return the part of the view that callers with the same permissions share.

    A caller who does not see the whole organization has a view of their own. For a custom role or a key, the view has
    a hash of the permissions instead of the role's name: they can change while responses are cached.
    """
    if caller_row.role is None:
        return f"none:{user}"
    grant, name = granted(caller_row), caller_row.role
    if caller_row.permissions is not None or caller_row.key_permissions is not None:
        name = hashlib.blake2b(" ".join(sorted(grant.permissions)).encode(), digest_size=12).hexdigest()
    return name if grant.scope is Scope.ALL else f"{name}:{grant.scope}:{user}"


class CallerStates:
    """The caller states that this process has cached, for the most recent callers."""

    def __init__(self) -> None:
        self._known: BoundedMap[tuple[str, str], CallerState] = BoundedMap(MOST)

    def get(self, organization: str, user: str, seconds: int) -> CallerState | None:
        """Return the cached state of a caller, unless their UTC offset has changed; Redis checks that it is current."""
        caller = self._known.get((organization, user))
        return caller if caller is not None and caller.is_on_time(seconds) else None

    def put(self, organization: str, user: str, caller: CallerState) -> None:
        """Cache a caller's state."""
        self._known.put((organization, user), caller)

    def clear(self) -> None:
        """Remove all states."""
        self._known.clear()
