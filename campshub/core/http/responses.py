"""Responses: from the result of an endpoint to the bytes that are sent.

Responses to reads have an ETag; a matching If-None-Match gives 304. A change may name the versions that it applies to
(If-Match). A file is sent in pieces under its own name (``Download``).
"""

import errno
import hashlib
import logging
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl, quote

from flask import Response, request

from campshub.core.cache.memory import CachedResponse
from campshub.core.db.writes import Versions
from campshub.core.errors import Invalid
from campshub.core.http.context import RequestContext
from campshub.core.http.endpoint import Endpoint
from campshub.core.json import write
from campshub.core.paging import Page

log = logging.getLogger(__name__)

JSON = "application/json"
_REPLAYED = ("Content-Type", "ETag", "Location")
_OK, _CREATED, _ACCEPTED, _NO_CONTENT, _NOT_MODIFIED = 200, 201, 202, 204, 304
AT_ONCE = 64 * 1024
_YIELD_S = 1e-6  # with 0, gevent would check sockets and timers only every 5 ms
OCTETS = "application/octet-stream"
# Any entity tag of RFC 9110, the tags of this API, and a list of tags; it may have empty elements (section 5.6.1).
_ANY_TAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')
_OWN_TAG = re.compile(r'(?:W/)?"(\d{1,10})(?:-[^"]*)?"')
_LIST = re.compile(rf"[ \t,]*{_ANY_TAG.pattern}(?:[ \t]*,[ \t,]*{_ANY_TAG.pattern})*[ \t,]*")


@dataclass
class Download:
    """A file to be sent; ``file`` is closed with the response.

    Its first bytes are read at once, while a different response is still possible; errors go to the caller.
    """

    file: Any
    media_type: str
    name: str
    size: int | None = None
    _beginning: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        try:
            self._beginning = self.file.read(AT_ONCE)
        except BaseException:
            self.close()
            raise

    def headers(self, accept: str | None = None) -> list[tuple[str, str]]:
        """Return the headers of the file (RFC 6266); browsers save it and do not guess its type.

        A client that accepts only ``application/octet-stream`` receives that type, because some clients decode text.
        """
        plain = "".join(c if c.isalnum() or c in "-._ " else "_" for c in self.name)
        plain = plain.encode("ascii", "replace").decode().replace("?", "_")
        headers = [
            ("Content-Type", OCTETS if accept == OCTETS else self.media_type),
            ("Content-Disposition", f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(self.name, safe='')}"),
        ]
        return headers if self.size is None else [*headers, ("Content-Length", str(self.size))]

    def __iter__(self) -> Iterator[bytes]:
        """Yield the file in pieces.

        :raises ConnectionResetError: the file cannot be read to its end. The server then closes the connection, so that
            the client does not take the partial file for the whole one. It does not log the request, whose URL may
            contain a secret.
        """
        piece = self._beginning
        while piece:
            yield piece
            # Decryption and a fast client never block, so yield to other requests here.
            time.sleep(_YIELD_S)
            try:
                piece = self.file.read(AT_ONCE)
            except Exception:
                log.exception("a file could not be read to its end; the connection is closed")
                raise ConnectionResetError(errno.ECONNRESET, "the file ends here") from None

    def close(self) -> None:
        """Close the file, also if it was not sent."""
        getattr(self.file, "close_beneath", self.file.close)()


@dataclass(frozen=True, slots=True)
class RenderedResponse:
    """A rendered response: its body and its own headers."""

    status: int
    body: bytes = b""
    etag: str = ""
    link: str | None = None
    location: str | None = None
    download: Download | None = None


def render(context: RequestContext, result: Any) -> RenderedResponse:
    """Render the result of an endpoint: a page, one object with its ETag, a file, or an empty body.

    A result ``(object, status)`` has its own status.
    """
    endpoint = context.endpoint
    status = endpoint.options.status
    if isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], int):  # noqa: PLR2004 - a pair
        result, status = result
    if isinstance(result, Download):
        return RenderedResponse(status, download=result)
    serializer = endpoint.serializer(context.arguments.only)
    if serializer is None or result is None:
        return RenderedResponse(_NO_CONTENT if status == _OK else status)
    if isinstance(result, Page):
        items = serializer.many(result.rows)
        body = write({"items": items, "next_cursor": result.next_cursor, "has_more": result.has_more})
        etag = etag_of_page(body) if result.version is None else etag_of(result.version, body)
        return RenderedResponse(_OK, body, etag, _link(context, result))
    body = write(serializer.one(result))
    version = _value_of(result, "version")
    etag = etag_of(version, body) if version is not None else ""
    if not etag and endpoint.reads and not endpoint.options.is_secret:  # aggregates, which are no row
        etag = etag_of_page(body)
    # What a PUT creates is at its own URL.
    is_below = status == _CREATED and endpoint.method == "POST"
    location = f"{context.url_path}{_value_of(result, 'id')}/" if is_below else None
    if status == _ACCEPTED:  # the work is done in a job, which reports its progress
        location = f"/api/jobs/{_value_of(result, 'job_id')}/"
    return RenderedResponse(status, body, etag, None, location)


def respond(endpoint: Endpoint, rendered: RenderedResponse | CachedResponse) -> Response:
    """Return the Flask response; 304 if the client has this response already."""
    if isinstance(rendered, RenderedResponse) and rendered.download is not None:
        headers = rendered.download.headers(request.environ.get("HTTP_ACCEPT"))
        return Response(rendered.download, status=rendered.status, headers=headers)
    if_none_match = request.environ.get("HTTP_IF_NONE_MATCH") if endpoint.reads else None
    status, body, headers = parts_to_send(rendered, if_none_match)
    response = Response(body, status=status, headers=headers)
    if not body:
        response.headers.pop("Content-Type", None)
    return response


def parts_to_send(
    rendered: RenderedResponse | CachedResponse, if_none_match: str | None
) -> tuple[int, bytes, list[tuple[str, str]]]:
    """Return the status, body and headers of a response; 304 if it matches If-None-Match."""
    etag = rendered.etag
    if etag and matches(if_none_match, etag):
        return _NOT_MODIFIED, b"", [("ETag", etag)]
    headers = [("Content-Type", JSON)] if rendered.body else []
    if etag:
        headers.append(("ETag", etag))
    if rendered.link is not None:
        headers.append(("Link", rendered.link))
    if isinstance(rendered, CachedResponse):
        return _OK, rendered.body, headers
    if rendered.location is not None:
        headers.append(("Location", rendered.location))
    return rendered.status, rendered.body, headers


def _value_of(result: Any, name: str) -> Any:
    return result.get(name) if isinstance(result, dict) else getattr(result, name, None)


def _link(context: RequestContext, page: Page) -> str | None:
    if page.next_cursor is None:
        return None
    return (
        f'<{context.url_path}?{_parameters_without_cursor(context.query_string)}cursor={page.next_cursor}>; rel="next"'
    )


@lru_cache(maxsize=4096)
def _parameters_without_cursor(query_string: bytes) -> str:
    """Return the query parameters without the cursor, each followed by an ampersand."""
    parameters = parse_qsl(query_string.decode("latin-1"), keep_blank_values=True, errors="replace")
    return "".join(f"{name}={quote(value, safe='')}&" for name, value in parameters if name != "cursor")


def replayable_headers(response: Response) -> dict[str, str]:
    """Return the headers that a replayed response must have again."""
    return {name: response.headers[name] for name in _REPLAYED if name in response.headers}


def etag_of(version: int, content: bytes) -> str:
    """Return the ETag ``"<version>-<variant>"``.

    The variant is a hash of the body: callers see different fields, and a response may show more than the row with this
    version (``/api/me/`` lists the user's organizations).
    """
    return f'"{version}-{hashlib.sha256(content).hexdigest()[:12]}"'


def etag_of_page(content: bytes) -> str:
    """Return the ETag of a page or of aggregates, which have no version: a hash of the body."""
    return f'"{hashlib.sha256(content).hexdigest()[:18]}"'


def matches(header: str | None, tag: str) -> bool:
    """Return whether If-None-Match contains the tag, by weak comparison (RFC 9110, 13.1.2)."""
    if not header:
        return False
    plain = tag.removeprefix("W/")
    return header.strip() == "*" or plain in (part.strip().removeprefix("W/") for part in header.split(","))


def expected_versions(header: str | None) -> Versions:
    """Return the versions in If-Match; one of them must be the current one (RFC 9110, 13.1.1).

    Weak tags count, too: a proxy that compresses makes a strong tag weak, and the version stays the same. Foreign tags
    match nothing.

    :raises Invalid: it is no list of tags, or none of them is a tag of this API.
    """
    if header is None or header.strip() == "*":
        return None
    named = _OWN_TAG.findall(header) if _LIST.fullmatch(header) else []
    if not named:
        raise Invalid("If-Match must be a comma-separated list of ETags of this API, or *.")
    return frozenset(map(int, named))
