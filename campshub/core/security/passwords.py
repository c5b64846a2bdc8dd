"""Passwords: bcrypt over a SHA-256 of the whole password, so that it is not truncated, computed outside the hub.

Plain bcrypt hashes of other systems are accepted too, and replaced at the owner's next sign-in. A wrong password always
takes the time of the current cost: also for an unknown user, a hash of another system, or a hash with an earlier, lower
cost.
"""

import base64
import hashlib
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bcrypt

from campshub.config import Settings
from campshub.core.errors import Invalid, Unavailable
from campshub.core.normalization import email_key
from campshub.core.security.breached import BreachedList
from campshub.core.threads import run_in_thread

LONGEST_BYTES = 1024
SHORTEST = 12
_PREFIX = "bcrypt-sha256:"
_BCRYPT = re.compile(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}")
_PLAIN_BYTES = 72  # plain bcrypt reads no more, and other systems truncate longer passwords
_HIGHEST_COST = 16
_DEFAULT_LIST = Path(__file__).parent / "breached.bloom"


class PasswordsBusy(Unavailable):
    """Too many passwords are being checked; retry shortly."""

    code = "busy"
    default_detail = "Too many passwords are being checked; retry shortly."


class Passwords:
    """Hashes and checks passwords, a few at once, and refuses bad ones; a part of ``ServiceContainer``."""

    def __init__(self, settings: Settings) -> None:
        self._cost = settings.password_cost
        self._wait_s = settings.password_wait_s
        self._slots = threading.BoundedSemaphore(settings.password_hashes_at_once)
        self._breached = BreachedList(Path(settings.password_list or _DEFAULT_LIST))

    def hash(self, password: str) -> str:
        """Return the hash of a password, for storing.

        :raises PasswordsBusy: too many passwords are being hashed.
        """
        hashed: str = self._with_slot(lambda: hash_password(password, cost=self._cost))
        return hashed

    def check(self, password: str, stored: str | None) -> bool:
        """Return whether a password matches the stored hash.

        :raises PasswordsBusy: too many passwords are being hashed.
        """
        matches: bool = self._with_slot(lambda: verify_password(password, stored, cost=self._cost))
        return matches

    def is_outdated(self, stored: str) -> bool:
        """Return whether a hash is of another system, or has another cost."""
        found = _BCRYPT.fullmatch(stored.removeprefix(_PREFIX))
        return not stored.startswith(_PREFIX) or found is None or int(found[1]) != self._cost

    def require_good(self, password: str, *, least: int, email: str, pointer: str = "/password") -> None:
        """Refuse a password that is too short or too long, the user's own address, or breached.

        :raises Invalid: it is one of these.
        """
        folded, address = password.casefold(), email_key(email)
        if len(password) < least:
            raise Invalid.at(pointer, "too_short", f"At least {least} characters.")
        if len(password.encode()) > LONGEST_BYTES:
            raise Invalid.at(pointer, "too_long", f"At most {LONGEST_BYTES} bytes.")
        if email_key(password) in (address, address.partition("@")[0]):
            raise Invalid.at(pointer, "is_email", "Not the e-mail address.")
        if password in self._breached or folded in self._breached:
            raise Invalid.at(pointer, "breached", "This password is known to many; choose another one.")

    def _with_slot(self, work: Callable[[], Any]) -> Any:
        if not self._slots.acquire(timeout=self._wait_s):
            raise PasswordsBusy(headers={"Retry-After": "5"})
        try:
            return work()
        finally:
            self._slots.release()


def hash_password(password: str, *, cost: int) -> str:
    """Return the hash of a password, for storing."""
    hashed: bytes = run_in_thread(bcrypt.hashpw, _digest(password), bcrypt.gensalt(cost))
    return _PREFIX + hashed.decode()


def verify_password(password: str, stored: str | None, *, cost: int) -> bool:
    """Return whether a password matches the stored hash; an unknown user takes as much time as a known one."""
    matches: bool = run_in_thread(_matches, password, stored, cost)
    return matches


def _matches(password: str, stored: str | None, cost: int) -> bool:
    found = _BCRYPT.fullmatch(stored.removeprefix(_PREFIX)) if stored else None
    if stored is None or found is None or int(found[1]) > _HIGHEST_COST:
        bcrypt.checkpw(_digest(password), _dummy_hash(cost))
        return False
    secret = _digest(password) if stored.startswith(_PREFIX) else password.encode()[:_PLAIN_BYTES]
    if bcrypt.checkpw(secret, b"$2b$" + found[0][4:].encode()):  # 2a and 2y name bugs that were fixed long ago
        return True
    # Each step of cost doubles the time, so these add up to the missing time: 2^a + ... + 2^(b-1) = 2^b - 2^a.
    for lower in range(int(found[1]), cost):
        bcrypt.checkpw(secret, _dummy_hash(lower))
    return False


def _digest(password: str) -> bytes:
    # base64, because bcrypt ends at a NUL byte.
    return base64.b64encode(hashlib.sha256(password.encode()).digest())


def _dummy_hash(cost: int) -> bytes:
    """Return a hash for which no password is known."""
    return b"$2b$%02d$" % cost + b"." * 53
