"""One page of the changes of one or several feeds."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from campshub.changes.queries import stream
from campshub.changes.queries.access import present
from campshub.changes.queries.feeds import Feed, FirstDate
from campshub.changes.tokens import CopyToken, FeedPosition, Reached, ResyncRequired, seal, unseal
from campshub.core.db.session import Session
from campshub.core.security.crypto import Cursors
from campshub.core.security.principal import Principal


@dataclass(frozen=True)
class Changes:
    """The items of a feed that were created or changed, and the ids of those that are gone."""

    items: list[Any]
    deleted: list[UUID]


@dataclass(frozen=True)
class ChangesPage:
    """A page of changes by feed, and the token of the next page or the next response."""

    by_feed: dict[str, Changes]
    next: str
    has_more: bool


def read_changes(
    session: Session,
    principal: Principal,
    *,
    feeds: Sequence[Feed],
    since: str | None,
    first_date: FirstDate,
    limit: int,
    cursors: Cursors,
    now: datetime,
) -> ChangesPage:
    """Return the changes since a token; without one, all rows.

    :raises BadCursor: the token was made for other feeds, or is not genuine.
    :raises ResyncRequired: the copy cannot be continued.
    :raises Unavailable: the primary cannot be reached.
    """
    bound_to = (principal.organization_id, [feed.name for feed in feeds], first_date)
    token = unseal(cursors, since, *bound_to) if since else None
    state = present(session, principal, feeds)
    if token is None:
        token = CopyToken(state.database, state.access, None, None)
    if (token.database, token.access) != (state.database, state.access) or token.is_expired(now):
        raise ResyncRequired
    token = token.begun(_reached(token, Reached(state.window, now, state.on)))
    by_feed, position = _page(session, principal, feeds, token, first_date=first_date, limit=limit)
    following = token.finished() if position is None else replace(token, position=position)
    return ChangesPage(by_feed, seal(cursors, following, *bound_to), position is not None)


def _reached(token: CopyToken, state: Reached) -> Reached:
    """Return what the copy contains after this response.

    If all change sets have been deleted since, the copy still contains the last one that it has seen.
    """
    if token.since is None or state.window.latest >= token.since.window.latest:
        return state
    return replace(state, window=token.since.window)


def _page(
    session: Session,
    principal: Principal,
    feeds: Sequence[Feed],
    token: CopyToken,
    *,
    first_date: FirstDate,
    limit: int,
) -> tuple[dict[str, Changes], FeedPosition | None]:
    """Read feed after feed until the page is full; return the position of the next page, None after the last one."""
    by_feed = {feed.name: Changes([], []) for feed in feeds}
    after, remaining = token.position.after, limit
    for number, feed in enumerate(feeds[token.position.feed :], token.position.feed):
        if remaining == 0:
            return by_feed, FeedPosition(number)
        keys = _keys(session, principal, feed, token, after=after, first_date=first_date, most=remaining + 1)
        has_more, keys, after = len(keys) > remaining, keys[:remaining], None
        by_feed[feed.name] = Changes(*stream.current(session, principal, feed, keys, first_date))
        if has_more:
            return by_feed, FeedPosition(number, keys[-1].position)
        remaining -= len(keys)
    return by_feed, None


def _keys(
    session: Session,
    principal: Principal,
    feed: Feed,
    token: CopyToken,
    *,
    after: Any,
    first_date: FirstDate,
    most: int,
) -> list[stream.Key]:
    if token.until is None:
        raise RuntimeError("the response has not begun")
    if token.since is None:
        return stream.all_rows(session, principal, feed, after=after, first_date=first_date, most=most)
    return stream.changed_rows(
        session,
        principal,
        feed,
        since=token.since,
        until=token.until,
        after=after,
        first_date=first_date,
        most=most,
    )
