"""gunicorn's gevent worker, with problem documents (RFC 9457) for requests that never reach the application.

gunicorn sends an HTML page for a request that it cannot parse, and after a failure of the application. The master
process imports this module, so its top level imports nothing of the application.
"""

import contextlib
import re
import socket
from functools import cached_property
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import gevent
from gunicorn.http import errors
from gunicorn.workers.ggevent import GeventWorker

if TYPE_CHECKING:
    from campshub.core.http.middleware import BrowserHeaders

# More than gunicorn.conf.py allows for a request line and its headers.
_HEAD_BYTES = 640 * 1024
_LINGER_S = 1.0  # the longest time for which unread bytes are read
_HEADER = re.compile(rb"(?im)^(Origin|X-Request-ID|traceparent):[ \t]*([!-~]{1,255})[ \t]*\r?$")


class RecordedSocket:
    """A client's connection that records the head of the current request, for an error response."""

    def __init__(self, client: socket.socket) -> None:
        self._client = client
        self._head = bytearray()
        self._records = True

    def recv(self, size: int) -> bytes:
        """Receive bytes."""
        received = self._client.recv(size)
        if self._records and len(self._head) < _HEAD_BYTES:
            self._head += received
        return received

    def pause(self) -> None:
        """Stop recording, because the request body follows."""
        self._records = False

    def resume(self) -> None:
        """Start recording the next request."""
        self._head.clear()
        self._records = True

    def headers(self) -> dict[str, str]:
        """Return the received headers that an error response needs, under their WSGI names."""
        found = _HEADER.findall(bytes(self._head))
        return {f"HTTP_{name.decode().upper().replace('-', '_')}": value.decode() for name, value in found}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


class ProblemWorker(GeventWorker):  # type: ignore[misc] # gunicorn ships no types
    """The worker that ``config/gunicorn.conf.py`` names."""

    def handle(self, listener: Any, client: socket.socket, addr: Any) -> None:
        """Serve one connection."""
        super().handle(listener, RecordedSocket(client), addr)

    def handle_request(self, listener_name: Any, req: Any, sock: RecordedSocket, addr: Any) -> None:
        """Serve one request."""
        sock.pause()
        super().handle_request(listener_name, req, sock, addr)
        sock.resume()

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:  # noqa: ARG002 - gunicorn's signature
        """Send a problem document, then close the connection."""
        # Not at the top of the file: see the module's docstring.
        from campshub.core.http import middleware  # noqa: PLC0415

        status, code, detail = _problem_of(exc)
        sent = client.headers() if isinstance(client, RecordedSocket) else {}
        ids = middleware.request_ids(sent)
        if status == HTTPStatus.INTERNAL_SERVER_ERROR:
            self.log.error("a request failed outside the application, trace id %s", ids[0], exc_info=exc)
        else:
            values = ((addr or [""])[0], int(status), type(exc).__name__, ids[0])
            self.log.warning("refused a request from %s: %s %s, trace id %s", *values)
        with contextlib.suppress(OSError):
            client.sendall(self._document(status, code, detail, sent, ids))
            _linger(client)

    def _document(
        self, status: HTTPStatus, code: str, detail: str, sent: dict[str, str], ids: tuple[str, str]
    ) -> bytes:
        # Not at the top of the file: see the module's docstring.
        from campshub.core import json  # noqa: PLC0415
        from campshub.core.errors import title  # noqa: PLC0415
        from campshub.core.http import error_handlers  # noqa: PLC0415

        trace_id, request_id = ids
        body = json.write(
            {
                "type": "about:blank",
                "title": title(status),
                "status": int(status),
                "code": code,
                "detail": detail,
                "trace_id": trace_id,
            }
        )
        headers = (
            ("Connection", "close"),
            ("Content-Type", error_handlers.PROBLEM_JSON),
            ("Content-Length", str(len(body))),
            ("X-Request-ID", request_id),
            *self._browsers.headers({"wsgi.url_scheme": "http", **sent}),
            *(self._browsers.for_unread_origin() if "HTTP_ORIGIN" not in sent else ()),
        )
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
        return f"HTTP/1.1 {int(status)} {title(status)}\r\n{lines}\r\n".encode() + body

    @cached_property
    def _browsers(self) -> "BrowserHeaders":
        from campshub.config import load_settings  # noqa: PLC0415 - in the worker
        from campshub.core.http.middleware import BrowserHeaders  # noqa: PLC0415 - in the worker

        return BrowserHeaders(load_settings())


def _problem_of(exc: BaseException) -> tuple[HTTPStatus, str, str]:
    """Return the status, code and detail for a request that gunicorn could not serve."""
    if isinstance(exc, errors.LimitRequestLine):
        return HTTPStatus.REQUEST_URI_TOO_LONG, "uri_too_long", "The request line is longer than 8,190 bytes."
    if isinstance(exc, errors.LimitRequestHeaders):
        status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        return status, "headers_too_large", "A header is longer than 8,190 bytes, or there are more than 64."
    if isinstance(exc, errors.ExpectationFailed):
        return HTTPStatus.EXPECTATION_FAILED, "expectation_failed", "Only the expectation 100-continue is supported."
    of_application = (errors.InvalidResponseHeader, errors.InvalidResponseHeaderName, errors.ConfigurationProblem)
    if isinstance(exc, errors.ParseException) and not isinstance(exc, of_application):
        detail = "The request cannot be parsed: its line, headers or framing are wrong."
        return HTTPStatus.BAD_REQUEST, "bad_request", detail
    detail = "Unexpected server error; it was logged with the trace id."
    return HTTPStatus.INTERNAL_SERVER_ERROR, "unexpected", detail


def _linger(client: Any) -> None:
    """Read remaining bytes for a moment: closing a connection with unread bytes would discard the response."""
    client.shutdown(socket.SHUT_WR)
    with gevent.Timeout(_LINGER_S, False):
        while client.recv(65536):
            pass
