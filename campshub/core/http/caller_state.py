"""Who has asked lately: their state in their organization, as kept under the stamp of the tag ``access``.

What is kept names the caller's state (role, or what an own role or a key allows; session version, which of their
sessions have ended, the organization's time zone and status) and what they may see; with today's dates that is the part
of an answer's key which tells one caller's answers from another's. Callers share an answer only where they may do the
same and see the whole organization.
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
from campshub.core.security.grants import granted
from campshub.core.security.permissions import Scope

MOST = 20_000
LIFE_S = 300.0
DAY_S = 86_400
# Clocks change at the start of a minute of UTC, in every zone of the IANA database since 1973.
_MINUTE_S = 60
_KEPT = (
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
    """A caller's state under one stamp; what it knows of them is as the statement that sets the tenant tells it."""

    key: bytes
    seen: str
    offset_s: int
    state: CallerRow

    def is_on_time(self, seconds: int) -> bool:
        """Return whether the clock of the caller's time zone has the state's offset at a time."""
        return self.offset_s == _offset_s(self.state.time_zone or "UTC", seconds // _MINUTE_S)

    def view(self, seconds: int) -> str:
        """Return what the caller sees at a time: whose rows, and on which dates (the organization's own and UTC's)."""
        return f"{self.seen}:{(seconds + self.offset_s) // DAY_S}:{seconds // DAY_S}"

    def packed(self) -> bytes:
        """Return the state as Redis keeps it; ``ask.lua`` reads the first two lines."""
        state = orjson.dumps([getattr(self.state, name) for name in _KEPT])
        return f"{self.seen}\n{self.offset_s}\n".encode() + state


def unpacked(key: bytes, packed: bytes) -> CallerState:
    """Read a state as Redis keeps it."""
    seen, offset, state = packed.split(b"\n", 2)
    return CallerState(key, seen.decode(), int(offset), _entered(orjson.loads(state)))


def _entered(cached: Sequence[Any]) -> CallerRow:
    known = dict(zip(_KEPT, cached, strict=False))  # a state that an earlier release has kept says less
    return CallerRow(**known, fresh=True, key_is_free=None, answer=None)


@lru_cache(maxsize=4_096)
def _offset_s(time_zone: str, minute: int) -> int:
    """Return the offset of a time zone in seconds during a minute since the epoch."""
    offset = datetime.fromtimestamp(minute * _MINUTE_S, ZoneInfo(time_zone)).utcoffset()
    return int(offset.total_seconds()) if offset is not None else 0


def caller_of(key: bytes, user: str, caller_row: CallerRow, now: datetime) -> CallerState:
    """Return the state of a caller, with the offset of their clock at an instant."""
    state = _entered([getattr(caller_row, name) for name in _KEPT])
    offset_s = _offset_s(caller_row.time_zone or "UTC", int(now.timestamp()) // _MINUTE_S)
    return CallerState(key, _seen(user, caller_row), offset_s, state)


def _seen(user: str, caller_row: CallerRow) -> str:
    """Return whose answers a caller may be told: those who may do the same, and their own where they see less.

    The name of an own role says nothing of it: what it allows can change, and answers outlive that.
    """
    if caller_row.role is None:
        return f"nobody:{user}"
    grant, name = granted(caller_row), caller_row.role
    if caller_row.permissions is not None or caller_row.key_permissions is not None:
        name = hashlib.blake2b(" ".join(sorted(grant.permissions)).encode(), digest_size=12).hexdigest()
    return name if grant.scope is Scope.ALL else f"{name}:{grant.scope}:{user}"


class CallerStates:
    """The states that the process remembers, of those who asked last."""

    def __init__(self) -> None:
        self._known: BoundedMap[tuple[str, str], CallerState] = BoundedMap(MOST)

    def get(self, organization: str, user: str, seconds: int) -> CallerState | None:
        """Return a caller's state as last known, unless their clock has changed since; Redis compares its key."""
        caller = self._known.get((organization, user))
        return caller if caller is not None and caller.is_on_time(seconds) else None

    def put(self, organization: str, user: str, caller: CallerState) -> None:
        """Remember a caller's state."""
        self._known.put((organization, user), caller)

    def clear(self) -> None:
        """Forget everyone."""
        self._known.clear()
