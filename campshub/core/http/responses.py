"""From what a handler returns to the bytes that are sent."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl, quote

from flask import Response, request

from campshub.core.cache.memory import Kept
from campshub.core.http import conditional
from campshub.core.http.context import Call
from campshub.core.http.download import Download
from campshub.core.http.endpoint import Handler
from campshub.core.json import write
from campshub.core.paging import Page

JSON = "application/json"
_KEPT = ("Content-Type", "ETag", "Location")
_OK, _CREATED, _ACCEPTED, _NO_CONTENT, _NOT_MODIFIED = 200, 201, 202, 204, 304


@dataclass(frozen=True, slots=True)
class Finished:
    """A finished answer: its bytes and the headers that belong to them."""

    status: int
    body: bytes = b""
    etag: str = ""
    link: str | None = None
    location: str | None = None
    download: Download | None = None


def finish(call: Call, result: Any) -> Finished:
    """Write a handler's result as its mark says: a page, one thing with its ETag, or nothing.

    A result ``(thing, status)`` has a status of its own.
    """
    handler = call.handler
    status = handler.mark.status
    if isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], int):  # noqa: PLR2004 - a pair
        result, status = result
    if isinstance(result, Download):
        return Finished(status, download=result)
    serialiser = handler.serialiser(call.arguments.only)
    if serialiser is None or result is None:
        return Finished(_NO_CONTENT if status == _OK else status)
    if isinstance(result, Page):
        items = serialiser.many(result.rows)
        body = write({"items": items, "next_cursor": result.next_cursor, "has_more": result.has_more})
        etag = conditional.etag_of_page(body) if result.version is None else conditional.etag(result.version, body)
        return Finished(_OK, body, etag, _link(call, result))
    body = write(serialiser.one(result))
    version = _told(result, "version")
    etag = conditional.etag(version, body) if version is not None else ""
    if not etag and handler.reads and not handler.mark.is_secret:  # figures, which are no row
        etag = conditional.etag_of_page(body)
    location = f"{call.address}{_told(result, 'id')}/" if status == _CREATED else None
    if status == _ACCEPTED:  # it is done in the background, and there it says how far it is
        location = f"/api/jobs/{_told(result, 'job_id')}/"
    return Finished(status, body, etag, None, location)


def respond(handler: Handler, finished: Finished | Kept) -> Response:
    """Send a finished answer; 304 to whoever has it already."""
    if isinstance(finished, Finished) and finished.download is not None:
        headers = finished.download.headers(request.environ.get("HTTP_ACCEPT"))
        return Response(finished.download, status=finished.status, headers=headers)
    if_none_match = request.environ.get("HTTP_IF_NONE_MATCH") if handler.reads else None
    status, body, headers = described(finished, if_none_match)
    answer = Response(body, status=status, headers=headers)
    if not body:
        answer.headers.pop("Content-Type", None)
    return answer


def described(finished: Finished | Kept, if_none_match: str | None) -> tuple[int, bytes, list[tuple[str, str]]]:
    """Return the status, body and headers of a finished answer, to whoever may have it already."""
    etag = finished.etag
    if etag and conditional.matches(if_none_match, etag):
        return _NOT_MODIFIED, b"", [("ETag", etag)]
    headers = [("Content-Type", JSON)] if finished.body else []
    if etag:
        headers.append(("ETag", etag))
    if finished.link is not None:
        headers.append(("Link", finished.link))
    if isinstance(finished, Kept):
        return _OK, finished.body, headers
    if finished.location is not None:
        headers.append(("Location", finished.location))
    return finished.status, finished.body, headers


def _told(result: Any, name: str) -> Any:
    return result.get(name) if isinstance(result, dict) else getattr(result, name, None)


def _link(call: Call, page: Page) -> str | None:
    if page.next_cursor is None:
        return None
    return f'<{call.address}?{_others(call.query_string)}cursor={page.next_cursor}>; rel="next"'


@lru_cache(maxsize=4096)
def _others(query_string: bytes) -> str:
    """Return the parameters of a page but for its cursor, each with an ampersand after it."""
    given = parse_qsl(query_string.decode("latin-1"), keep_blank_values=True, errors="replace")
    return "".join(f"{name}={quote(value, safe='')}&" for name, value in given if name != "cursor")


def worth_keeping(answer: Response) -> dict[str, str]:
    """Return the headers that a replayed answer must have again."""
    return {name: answer.headers[name] for name in _KEPT if name in answer.headers}
