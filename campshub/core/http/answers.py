"""From what a handler returns to the bytes that are sent."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from flask import Response, request

from campshub.core.cache.memory import Kept
from campshub.core.http import conditional
from campshub.core.http.handler import Handler
from campshub.core.http.pagination import Page
from campshub.core.http.serialise import write

JSON = "application/json"
_KEPT = ("Content-Type", "ETag", "Location")
_OK, _CREATED, _NO_CONTENT, _NOT_MODIFIED = 200, 201, 204, 304


@dataclass(frozen=True, slots=True)
class Finished:
    """A finished answer: its bytes and the headers that belong to them."""

    status: int
    body: bytes = b""
    etag: str = ""
    link: str | None = None
    location: str | None = None


def finish(handler: Handler, result: Any, only: frozenset[str] | None) -> Finished:
    """Write a handler's result as its mark says: a page, one thing with its ETag, or nothing.

    A result ``(thing, status)`` has a status of its own.
    """
    status = handler.mark.status
    if isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], int):  # noqa: PLR2004 - a pair
        result, status = result
    serialiser = handler.serialiser(only)
    if serialiser is None or result is None:
        return Finished(_NO_CONTENT if status == _OK else status)
    if isinstance(result, Page):
        items = serialiser.many(result.rows)
        body = write({"items": items, "next_cursor": result.next_cursor, "has_more": result.has_more})
        return Finished(_OK, body, conditional.etag_of_page(body), _link(result))
    body = write(serialiser.one(result))
    version = _told(result, "version")
    etag = conditional.etag(version, body) if version is not None else ""
    if not etag and handler.reads and not handler.mark.is_secret:  # figures, which are no row
        etag = conditional.etag_of_page(body)
    location = f"{request.path}{_told(result, 'id')}/" if status == _CREATED else None
    return Finished(status, body, etag, None, location)


def respond(handler: Handler, finished: Finished | Kept) -> Response:
    """Send a finished answer; 304 to whoever has it already."""
    etag = finished.etag
    if etag and handler.reads and conditional.matches(request.environ.get("HTTP_IF_NONE_MATCH"), etag):
        return Response(status=_NOT_MODIFIED, headers=[("ETag", etag)])
    headers = [("Content-Type", JSON)] if finished.body else []
    if etag:
        headers.append(("ETag", etag))
    if finished.link is not None:
        headers.append(("Link", finished.link))
    if isinstance(finished, Finished) and finished.location is not None:
        headers.append(("Location", finished.location))
    if handler.mark.is_secret:
        headers.append(("Cache-Control", "no-store"))
    status = finished.status if isinstance(finished, Finished) else _OK
    answer = Response(finished.body, status=status, headers=headers)
    if not finished.body:
        answer.headers.pop("Content-Type", None)
    return answer


def _told(result: Any, name: str) -> Any:
    return result.get(name) if isinstance(result, dict) else getattr(result, name, None)


def _link(page: Page) -> str | None:
    if page.next_cursor is None:
        return None
    given = request.args.to_dict() | {"cursor": page.next_cursor}
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in given.items())
    return f'<{request.path}?{query}>; rel="next"'


def worth_keeping(answer: Response) -> dict[str, str]:
    """Return the headers that a replayed answer must have again."""
    return {name: answer.headers[name] for name in _KEPT if name in answer.headers}
