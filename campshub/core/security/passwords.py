"""Passwords: bcrypt over a SHA-256 of the whole password, so that no length is cut, worked out off the event loop."""

import base64
import hashlib
from collections.abc import Callable
from functools import cache
from typing import Any

import bcrypt
from gevent import get_hub

LONGEST_BYTES = 1024
_PREFIX = "bcrypt-sha256:"


def hash_password(password: str, *, cost: int) -> str:
    """Return the hash to keep of a password."""
    hashed: bytes = _off_the_loop(bcrypt.hashpw, _digest(password), bcrypt.gensalt(cost))
    return _PREFIX + hashed.decode()


def verify_password(password: str, kept: str | None, *, cost: int) -> bool:
    """Tell whether a password is the one that was hashed; an unknown user costs as much time as a known one."""
    if kept is None or not kept.startswith(_PREFIX):
        _off_the_loop(lambda: bcrypt.checkpw(_digest(password), _nobodys(cost)))
        return False
    matches: bool = _off_the_loop(bcrypt.checkpw, _digest(password), kept.removeprefix(_PREFIX).encode())
    return matches


def _digest(password: str) -> bytes:
    # base64, because bcrypt stops at a NUL byte.
    return base64.b64encode(hashlib.sha256(password.encode()).digest())


@cache
def _nobodys(cost: int) -> bytes:
    return bcrypt.hashpw(b"nobody's", bcrypt.gensalt(cost))


def _off_the_loop(function: Callable[..., Any], *arguments: Any) -> Any:
    """Run what only computes in the hub's thread pool, so that other requests go on."""
    return get_hub().threadpool.apply(function, arguments)
