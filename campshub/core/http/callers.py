"""Who has asked lately: their state in their organization, as kept under the stamp of the tag ``access``.

What is kept names the caller's state (role, or what an own role or a key allows; session version, which of their
sessions have ended, the organization's time zone and status) and what they may see; with today's dates that is the part
of an answer's key which tells one caller's answers from another's. Callers share an answer only where they may do the
same and see the whole organization.
"""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import orjson

from campshub.core.db.session import Entered
from campshub.core.security.grants import granted
from campshub.core.security.permissions import Scope

MOST = 20_000
LIFE_S = 300.0
DAY_S = 86_400
# Longer than a state is kept: within it the clock of its time zone must not be set forward or back.
_STEADY = timedelta(seconds=2 * LIFE_S)
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
class Caller:
    """A caller's state under one stamp; what it knows of them is as the statement that sets the tenant tells it."""

    key: bytes
    seen: str
    offset_s: int
    state: Entered

    def view(self, seconds: int) -> str:
        """Return what the caller sees at a time: whose rows, and on which dates (the organization's own and UTC's)."""
        return f"{self.seen}:{(seconds + self.offset_s) // DAY_S}:{seconds // DAY_S}"

    def packed(self) -> bytes:
        """Return the state as Redis keeps it; ``ask.lua`` reads the first two lines."""
        state = orjson.dumps([getattr(self.state, name) for name in _KEPT])
        return f"{self.seen}\n{self.offset_s}\n".encode() + state


def unpacked(key: bytes, packed: bytes) -> Caller:
    """Read a state as Redis keeps it."""
    seen, offset, state = packed.split(b"\n", 2)
    return Caller(key, seen.decode(), int(offset), _entered(orjson.loads(state)))


def _entered(kept: Sequence[Any]) -> Entered:
    known = dict(zip(_KEPT, kept, strict=False))  # a state that an earlier release has kept says less
    return Entered(**known, fresh=True, key_is_free=None, answer=None)


def caller_of(key: bytes, user: str, entered: Entered, now: datetime) -> Caller | None:
    """Return the state of a caller; None where their clock is about to be set forward or back."""
    zone = ZoneInfo(entered.time_zone or "UTC")
    offset, later = now.astimezone(zone).utcoffset(), (now + _STEADY).astimezone(zone).utcoffset()
    if offset is None or offset != later:
        return None
    state = _entered([getattr(entered, name) for name in _KEPT])
    return Caller(key, _seen(user, entered), int(offset.total_seconds()), state)


def _seen(user: str, entered: Entered) -> str:
    """Return whose answers a caller may be told: those who may do the same, and their own where they see less.

    The name of an own role says nothing of it: what it allows can change, and answers outlive that.
    """
    if entered.role is None:
        return f"nobody:{user}"
    grant, name = granted(entered), entered.role
    if entered.permissions is not None or entered.key_permissions is not None:
        name = hashlib.blake2b(" ".join(sorted(grant.permissions)).encode(), digest_size=12).hexdigest()
    return name if grant.scope is Scope.ALL else f"{name}:{grant.scope}:{user}"


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
