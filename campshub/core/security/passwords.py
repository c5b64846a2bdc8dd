"""Passwords: bcrypt over a SHA-256 of the whole password, so that no length is cut, worked out off the event loop.

Plain bcrypt hashes of other systems are taken too, and replaced when their owner signs in next. A wrong password costs
the time that the present cost asks for, whatever it was compared with: the hash of nobody, one of another system, or
one of an earlier and lower cost.
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
from campshub.core.threads import off_the_loop

LONGEST_BYTES = 1024
SHORTEST = 12
_PREFIX = "bcrypt-sha256:"
_BCRYPT = re.compile(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}")
_PLAIN_BYTES = 72  # plain bcrypt reads no more, and other systems cut what is longer
_HIGHEST_COST = 16
_DEFAULT_LIST = Path(__file__).parent / "breached.bloom"


class PasswordsBusy(Unavailable):
    """Too many passwords are being checked; try again in a moment."""

    code = "busy"
    default_detail = "Too many passwords are being checked; try again in a moment."


class Passwords:
    """Hashes and checks passwords, a few at once, and refuses bad ones; ``ServiceContainer`` holds it."""

    def __init__(self, settings: Settings) -> None:
        self._cost = settings.password_cost
        self._wait_s = settings.password_wait_s
        self._places = threading.BoundedSemaphore(settings.password_hashes_at_once)
        self._breached = BreachedList(Path(settings.password_list or _DEFAULT_LIST))

    def hash(self, password: str) -> str:
        """Return the hash to keep of a password.

        :raises PasswordsBusy: too many are being worked out.
        """
        made: str = self._in_turn(lambda: hash_password(password, cost=self._cost))
        return made

    def check(self, password: str, kept: str | None) -> bool:
        """Tell whether a password is the one that was hashed.

        :raises PasswordsBusy: too many are being worked out.
        """
        matches: bool = self._in_turn(lambda: verify_password(password, kept, cost=self._cost))
        return matches

    def is_outdated(self, kept: str) -> bool:
        """Tell whether a hash is another system's, or of another cost."""
        found = _BCRYPT.fullmatch(kept.removeprefix(_PREFIX))
        return not kept.startswith(_PREFIX) or found is None or int(found[1]) != self._cost

    def require_good(self, password: str, *, least: int, email: str, pointer: str = "/password") -> None:
        """Refuse a password that is too short, the user's own address, or known to many.

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

    def _in_turn(self, work: Callable[[], Any]) -> Any:
        if not self._places.acquire(timeout=self._wait_s):
            raise PasswordsBusy(headers={"Retry-After": "5"})
        try:
            return work()
        finally:
            self._places.release()


def hash_password(password: str, *, cost: int) -> str:
    """Return the hash to keep of a password."""
    hashed: bytes = off_the_loop(bcrypt.hashpw, _digest(password), bcrypt.gensalt(cost))
    return _PREFIX + hashed.decode()


def verify_password(password: str, kept: str | None, *, cost: int) -> bool:
    """Tell whether a password is the one that was hashed; an unknown user costs as much time as a known one."""
    matches: bool = off_the_loop(_matches, password, kept, cost)
    return matches


def _matches(password: str, kept: str | None, cost: int) -> bool:
    found = _BCRYPT.fullmatch(kept.removeprefix(_PREFIX)) if kept else None
    if kept is None or found is None or int(found[1]) > _HIGHEST_COST:
        bcrypt.checkpw(_digest(password), _nobodys(cost))
        return False
    given = _digest(password) if kept.startswith(_PREFIX) else password.encode()[:_PLAIN_BYTES]
    if bcrypt.checkpw(given, b"$2b$" + found[0][4:].encode()):  # the letters name faults that were mended long ago
        return True
    # Each step of cost takes twice the time of the one before, so these add up to what lacks: 2^a + ... = 2^b - 2^a.
    for lower in range(int(found[1]), cost):
        bcrypt.checkpw(given, _nobodys(lower))
    return False


def _digest(password: str) -> bytes:
    # base64, because bcrypt stops at a NUL byte.
    return base64.b64encode(hashlib.sha256(password.encode()).digest())


def _nobodys(cost: int) -> bytes:
    """Return a hash that no password is known to have."""
    return b"$2b$%02d$" % cost + b"." * 53
