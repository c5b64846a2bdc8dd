"""Tokens of change feeds: what a client's copy contains, and how far a response that takes several pages has come.

A token is encrypted and bound to the organization, the feeds and the first date.
"""

import hashlib
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from http import HTTPStatus
from typing import Any
from uuid import UUID

import orjson

from campshub.changes.models import STORED_DAYS
from campshub.changes.windows import Window
from campshub.core.errors import BadCursor, Problem
from campshub.core.security.crypto import Cursors, DecryptionFailed

# Less than change sets are stored: their age counts from the beginning of their transaction.
VALID_FOR = timedelta(days=STORED_DAYS - 1)


class ResyncRequired(Problem):
    """The copy cannot be continued from this token: it must be read again from the beginning."""

    status = HTTPStatus.GONE
    code = "resync_required"
    default_detail = (
        "The copy cannot be continued: what you may see has changed, the token is too old, or the database was"
        " replaced. Start again without a token."
    )


@dataclass(frozen=True)
class Reached:
    """What a copy contains when all pages of a response have been read."""

    window: Window
    at: datetime
    on: date  # the database's date, on which some visibility depends

    def packed(self) -> list[Any]:
        """Return the values for a token."""
        return [int(self.at.timestamp()), self.on.isoformat(), *self.window.packed()]

    @classmethod
    def unpacked(cls, values: list[Any]) -> "Reached":
        """Return the values of a token."""
        at, on, *numbers = values
        return cls(Window.unpacked(numbers), datetime.fromtimestamp(at, UTC), date.fromisoformat(on))


@dataclass(frozen=True)
class FeedPosition:
    """A position in the changes of a response: the number of the feed, and the key of the last row before it."""

    feed: int = 0
    after: tuple[Any, ...] | None = None


@dataclass(frozen=True)
class CopyToken:
    """A copy: its database, its reader's access, what it contains, and what its next page continues."""

    database: str
    access: str
    since: Reached | None  # None: the first response, with all rows
    until: Reached | None  # None: the next response has not begun
    position: FeedPosition = FeedPosition()

    def is_expired(self, now: datetime) -> bool:
        """Return whether change sets that it needs may have been deleted."""
        needed = self.since or self.until
        return needed is not None and needed.at < now - VALID_FOR

    def begun(self, until: Reached) -> "CopyToken":
        """Return the token at the beginning of the next response."""
        return self if self.until else replace(self, until=until)

    def finished(self) -> "CopyToken":
        """Return the token after the last page of a response."""
        return CopyToken(self.database, self.access, self.until, None)


def seal(cursors: Cursors, token: CopyToken, *bound_to: Any) -> str:
    """Return the token as an opaque text."""
    position = token.position
    content = [
        token.database,
        token.access,
        token.since.packed() if token.since else None,
        token.until.packed() if token.until else None,
        position.feed,
        position.after,
    ]
    return cursors.seal(orjson.dumps(content), bound_to=_binding(bound_to))


def unseal(cursors: Cursors, text: str, *bound_to: Any) -> CopyToken:
    """Return the token of a text.

    :raises BadCursor: it was made for another feed, or is not genuine.
    """
    try:
        content = orjson.loads(cursors.open(text, bound_to=_binding(bound_to)))
    except DecryptionFailed as error:
        raise BadCursor from error
    database, access, since, until, feed, after = content
    return CopyToken(
        database,
        access,
        Reached.unpacked(since) if since else None,
        Reached.unpacked(until) if until else None,
        FeedPosition(feed, _typed(after)),
    )


def _typed(after: list[Any] | None) -> tuple[Any, ...] | None:
    """Return the key of a row with its types."""
    return None if after is None else tuple(map(_value, after))


def _value(value: Any) -> Any:
    if isinstance(value, int):
        return value
    return date.fromisoformat(value) if len(value) == len("2026-01-01") else UUID(value)


def _binding(bound_to: tuple[Any, ...]) -> bytes:
    return hashlib.blake2b(orjson.dumps(["changes", *bound_to], default=str), digest_size=16).digest()
