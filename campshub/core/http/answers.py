"""From what a handler returns to the bytes that are sent."""

from typing import Any
from urllib.parse import quote

from flask import Response, request

from campshub.core.http import conditional
from campshub.core.http.handler import Handler
from campshub.core.http.pagination import Page
from campshub.core.http.serialise import write

JSON = "application/json"
_KEPT = ("Content-Type", "ETag", "Location")


def make(handler: Handler, result: Any, only: frozenset[str] | None) -> Response:
    """Write a handler's result as its mark says: a page, one thing with its ETag, or nothing.

    A result ``(thing, status)`` has a status of its own.
    """
    status = handler.mark.status
    if isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], int):  # noqa: PLR2004 - a pair
        result, status = result
    if isinstance(result, Response):
        return result
    serialiser = handler.serialiser(only)
    if serialiser is None or result is None:
        return Response(status=204 if status == 200 else status)  # noqa: PLR2004 - nothing to show
    if isinstance(result, Page):
        return _page(result, serialiser.many(result.rows))
    answer = Response(write(serialiser.one(result)), status=status, mimetype=JSON)
    if handler.mark.is_secret:
        answer.headers["Cache-Control"] = "no-store"
    version = _told(result, "version")
    if version is not None:
        tag = conditional.etag(version, answer.get_data())
        answer.headers["ETag"] = tag
        if handler.reads and conditional.matches(request.headers.get("If-None-Match"), tag):
            return Response(status=304, headers={"ETag": tag})
    if status == 201:  # noqa: PLR2004 - Created
        answer.headers["Location"] = f"{request.path}{_told(result, 'id')}/"
    return answer


def _told(result: Any, name: str) -> Any:
    return result.get(name) if isinstance(result, dict) else getattr(result, name, None)


def _page(page: Page, items: list[dict[str, Any]]) -> Response:
    answer = Response(
        write({"items": items, "next_cursor": page.next_cursor, "has_more": page.has_more}), mimetype=JSON
    )
    if page.next_cursor is not None:
        given = request.args.to_dict() | {"cursor": page.next_cursor}
        query = "&".join(f"{name}={_quoted(value)}" for name, value in given.items())
        answer.headers["Link"] = f'<{request.path}?{query}>; rel="next"'
    return answer


def _quoted(value: str) -> str:
    return quote(value, safe="")


def worth_keeping(answer: Response) -> dict[str, str]:
    """Return the headers that a replayed answer must have again."""
    return {name: answer.headers[name] for name in _KEPT if name in answer.headers}
