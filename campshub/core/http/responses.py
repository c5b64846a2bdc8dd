"""Responses: from what a handler returns to the bytes that are sent.

Reads carry an ETag and answer If-None-Match with 304; changes may name the versions they are meant for (If-Match). A
file is sent in pieces under its own name (``Download``).
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
_KEPT = ("Content-Type", "ETag", "Location")
_OK, _CREATED, _ACCEPTED, _NO_CONTENT, _NOT_MODIFIED = 200, 201, 202, 204, 304
AT_ONCE = 64 * 1024
_TURN_S = 1e-6  # after 0, gevent would look at sockets and timers only every 5 ms
OCTETS = "application/octet-stream"
# What RFC 9110 calls an entity tag, those of this API, and a list of any: empty elements are allowed (section 5.6.1).
_ANY_TAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')
_OWN_TAG = re.compile(r'(?:W/)?"(\d{1,10})(?:-[^"]*)?"')
_LIST = re.compile(rf"[ \t,]*{_ANY_TAG.pattern}(?:[ \t]*,[ \t,]*{_ANY_TAG.pattern})*[ \t,]*")


@dataclass
class Download:
    """A file to be sent; ``file`` is closed with the answer.

    Its beginning is read at once, while another answer can still be given; what that raises is the caller's.
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
        """Return the headers of the file (RFC 6266); browsers save it, and do not guess what it is.

        A client whose ``accept`` names only bytes receives them as such: some decode what is called text.
        """
        plain = "".join(letter if letter.isalnum() or letter in "-._ " else "_" for letter in self.name)
        plain = plain.encode("ascii", "replace").decode().replace("?", "_")
        told = [
            ("Content-Type", OCTETS if accept == OCTETS else self.media_type),
            ("Content-Disposition", f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(self.name, safe='')}"),
        ]
        return told if self.size is None else [*told, ("Content-Length", str(self.size))]

    def __iter__(self) -> Iterator[bytes]:
        """Yield the file, some at a time.

        :raises ConnectionResetError: it cannot be read to its end; a server ends the connection at that, so that nobody
            takes what was sent for the whole, and writes nothing of the request, whose address may hold a secret.
        """
        some = self._beginning
        while some:
            yield some
            # Decryption and a fast client never wait, so other requests get their turn here.
            time.sleep(_TURN_S)
            try:
                some = self.file.read(AT_ONCE)
            except Exception:
                log.exception("a file could not be read to its end; the connection is closed")
                raise ConnectionResetError(errno.ECONNRESET, "the file ends here") from None

    def close(self) -> None:
        """Close the file, sent or not."""
        getattr(self.file, "close_beneath", self.file.close)()


@dataclass(frozen=True, slots=True)
class RenderedResponse:
    """A finished answer: its bytes and the headers that belong to them."""

    status: int
    body: bytes = b""
    etag: str = ""
    link: str | None = None
    location: str | None = None
    download: Download | None = None


def finish(context: RequestContext, result: Any) -> RenderedResponse:
    """Write a handler's result as its mark says: a page, one thing with its ETag, or nothing.

    A result ``(thing, status)`` has a status of its own.
    """
    endpoint = context.endpoint
    status = endpoint.options.status
    if isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], int):  # noqa: PLR2004 - a pair
        result, status = result
    if isinstance(result, Download):
        return RenderedResponse(status, download=result)
    serialiser = endpoint.serializer(context.arguments.only)
    if serialiser is None or result is None:
        return RenderedResponse(_NO_CONTENT if status == _OK else status)
    if isinstance(result, Page):
        items = serialiser.many(result.rows)
        body = write({"items": items, "next_cursor": result.next_cursor, "has_more": result.has_more})
        etag = etag_of_page(body) if result.version is None else etag_of(result.version, body)
        return RenderedResponse(_OK, body, etag, _link(context, result))
    body = write(serialiser.one(result))
    version = _told(result, "version")
    etag = etag_of(version, body) if version is not None else ""
    if not etag and endpoint.reads and not endpoint.options.is_secret:  # figures, which are no row
        etag = etag_of_page(body)
    location = f"{context.address}{_told(result, 'id')}/" if status == _CREATED else None
    if status == _ACCEPTED:  # it is done in the background, and there it says how far it is
        location = f"/api/jobs/{_told(result, 'job_id')}/"
    return RenderedResponse(status, body, etag, None, location)


def respond(endpoint: Endpoint, finished: RenderedResponse | CachedResponse) -> Response:
    """Send a finished answer; 304 to whoever has it already."""
    if isinstance(finished, RenderedResponse) and finished.download is not None:
        headers = finished.download.headers(request.environ.get("HTTP_ACCEPT"))
        return Response(finished.download, status=finished.status, headers=headers)
    if_none_match = request.environ.get("HTTP_IF_NONE_MATCH") if endpoint.reads else None
    status, body, headers = described(finished, if_none_match)
    answer = Response(body, status=status, headers=headers)
    if not body:
        answer.headers.pop("Content-Type", None)
    return answer


def described(
    finished: RenderedResponse | CachedResponse, if_none_match: str | None
) -> tuple[int, bytes, list[tuple[str, str]]]:
    """Return the status, body and headers of a finished answer, to whoever may have it already."""
    etag = finished.etag
    if etag and matches(if_none_match, etag):
        return _NOT_MODIFIED, b"", [("ETag", etag)]
    headers = [("Content-Type", JSON)] if finished.body else []
    if etag:
        headers.append(("ETag", etag))
    if finished.link is not None:
        headers.append(("Link", finished.link))
    if isinstance(finished, CachedResponse):
        return _OK, finished.body, headers
    if finished.location is not None:
        headers.append(("Location", finished.location))
    return finished.status, finished.body, headers


def _told(result: Any, name: str) -> Any:
    return result.get(name) if isinstance(result, dict) else getattr(result, name, None)


def _link(context: RequestContext, page: Page) -> str | None:
    if page.next_cursor is None:
        return None
    return f'<{context.address}?{_others(context.query_string)}cursor={page.next_cursor}>; rel="next"'


@lru_cache(maxsize=4096)
def _others(query_string: bytes) -> str:
    """Return the parameters of a page but for its cursor, each with an ampersand after it."""
    given = parse_qsl(query_string.decode("latin-1"), keep_blank_values=True, errors="replace")
    return "".join(f"{name}={quote(value, safe='')}&" for name, value in given if name != "cursor")


def replayable_headers(answer: Response) -> dict[str, str]:
    """Return the headers that a replayed answer must have again."""
    return {name: answer.headers[name] for name in _KEPT if name in answer.headers}


def etag_of(version: int, shown: bytes) -> str:
    """Return the ETag ``"<version>-<variant>"``.

    The variant stands for the bytes: callers are shown different fields, and an answer may show more than the row whose
    version it carries (``/api/me/`` names the user's organizations).
    """
    return f'"{version}-{hashlib.sha256(shown).hexdigest()[:12]}"'


def etag_of_page(shown: bytes) -> str:
    """Return the ETag of a page, or of figures, which have no version of their own: it stands for the bytes."""
    return f'"{hashlib.sha256(shown).hexdigest()[:18]}"'


def matches(header: str | None, tag: str) -> bool:
    """Tell whether If-None-Match names the tag; weak comparison (RFC 9110, 13.1.2)."""
    if not header:
        return False
    plain = tag.removeprefix("W/")
    return header.strip() == "*" or plain in (part.strip().removeprefix("W/") for part in header.split(","))


def expected_versions(header: str | None) -> Versions:
    """Return the versions that If-Match names; one of them must be the present one (RFC 9110, 13.1.1).

    The weak form counts too: compression on the way makes a strong tag weak, and versions compare all the same. Tags of
    others match nothing.

    :raises Invalid: it is no list of tags, or none of them is ours.
    """
    if header is None or header.strip() == "*":
        return None
    named = _OWN_TAG.findall(header) if _LIST.fullmatch(header) else []
    if not named:
        raise Invalid("If-Match takes ETags as this API gives them, with commas between, or *.")
    return frozenset(map(int, named))
