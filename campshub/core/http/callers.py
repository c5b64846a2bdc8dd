"""Who has asked lately: their state in their organization, as kept under the stamp of the tag ``access``.

What is kept names the caller's state (role, session version, which of their sessions have ended, the organization's
time zone and status) and how far they see; with today's dates that is the part of an answer's key which tells one
caller's answers from another's.
"""

import threading
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import orjson

from campshub.core.db.session import Entered
from campshub.core.security.permissions import SCOPES, Role, Scope

MOST = 20_000
LIFE_S = 300.0
DAY_S = 86_400
# Longer than a state is kept: within it the clock of its time zone must not be set forward or back.
_STEADY = timedelta(seconds=2 * LIFE_S)


@dataclass(frozen=True, slots=True)
class Caller:
    """A caller's state under one stamp."""

    key: bytes
    seen: str
    offset_s: int
    role: str | None
    session_version: int | None
    time_zone: str | None
    status: str | None
    ended_sessions: list[str] | None = None

    def view(self, seconds: int) -> str:
        """Return what the caller sees at a time: whose rows, and on which dates (the organization's own and UTC's)."""
        return f"{self.seen}:{(seconds + self.offset_s) // DAY_S}:{seconds // DAY_S}"

    def packed(self) -> bytes:
        """Return the state as Redis keeps it; ``ask.lua`` reads the first two lines."""
        state = orjson.dumps([self.role, self.session_version, self.time_zone, self.status, self.ended_sessions])
        return f"{self.seen}\n{self.offset_s}\n".encode() + state

    def entered(self) -> Entered:
        """Return the state as the statement that sets the tenant tells it."""
        return Entered(
            self.role, self.session_version, self.time_zone, self.status, True, None, None, self.ended_sessions
        )


def unpacked(key: bytes, packed: bytes) -> Caller:
    """Read a state as Redis keeps it."""
    seen, offset, state = packed.split(b"\n", 2)
    return Caller(key, seen.decode(), int(offset), *orjson.loads(state))


def caller_of(key: bytes, user: str, entered: Entered, now: datetime) -> Caller | None:
    """Return the state of a caller; None where their clock is about to be set forward or back."""
    zone = ZoneInfo(entered.time_zone or "UTC")
    offset, later = now.astimezone(zone).utcoffset(), (now + _STEADY).astimezone(zone).utcoffset()
    if offset is None or offset != later:
        return None
    scope = SCOPES[Role(entered.role)] if entered.role else None
    seen = str(entered.role) if scope is Scope.ALL else f"{entered.role}:{user}"
    seconds = int(offset.total_seconds())
    return Caller(
        key,
        seen,
        seconds,
        entered.role,
        entered.session_version,
        entered.time_zone,
        entered.organization_status,
        entered.ended_sessions,
    )


class Callers:
    """The states that the process remembers, of those who asked last."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str], Caller] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, organization: str, user: str) -> Caller | None:
        """Return a caller's state as last known; whether it is still true, its key tells."""
        return self._known.get((organization, user))

    def put(self, organization: str, user: str, caller: Caller) -> None:
        """Remember a caller's state."""
        with self._lock:
            self._known[organization, user] = caller
            while len(self._known) > MOST:
                self._known.popitem(last=False)

    def clear(self) -> None:
        """Forget everyone."""
        with self._lock:
            self._known.clear()
