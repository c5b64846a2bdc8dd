"""Reading a small document from elsewhere: within a time, up to a size, and from nowhere but where it was asked."""

import contextlib
import http.client
import socket
import ssl
import threading
import time
from functools import lru_cache
from http import HTTPStatus
from urllib.parse import urlsplit

_HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "campshub"}


class NotFetched(Exception):
    """The document could not be read; the message says why."""


def fetch(address: str, *, within_s: float, most_bytes: int) -> bytes:
    """Return what stands at an address; redirects are not followed.

    It waits on sockets alone, so that other requests go on. A time-out of a socket is one of each reading, and whoever
    sends a byte a second would never meet it; so the connection is cut when the time is over.

    :raises NotFetched: the other side is away, slow, sends too much, or answers with anything but 200.
    """
    begun, connection, guard = time.monotonic(), _connection(address, within_s), None
    try:
        connection.connect()
        # The connection forgets its socket where the other side is to close it.
        guard = threading.Timer(within_s, _cut, [connection.sock])
        guard.daemon = True
        guard.start()
        parts = urlsplit(address)
        connection.request("GET", f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}", headers=_HEADERS)
        answer = connection.getresponse()
        if answer.status != HTTPStatus.OK:
            raise NotFetched(f"{address} answered {answer.status}")
        found = answer.read(most_bytes + 1)
    except (
        OSError,
        http.client.HTTPException,
        ValueError,
        AttributeError,
    ) as error:
        # The last two: it was cut while it read.
        raise NotFetched(f"{address}: {type(error).__name__}") from error
    finally:
        if guard is not None:
            guard.cancel()
        connection.close()
    if time.monotonic() - begun >= within_s:
        raise NotFetched(f"{address} took longer than {within_s} s")
    if len(found) > most_bytes:
        raise NotFetched(f"{address} sent more than {most_bytes} bytes")
    return found


def _connection(address: str, within_s: float) -> http.client.HTTPConnection:
    parts = urlsplit(address)
    if parts.scheme == "https":
        return http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=within_s, context=_trusted())
    return http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=within_s)


def _cut(connected: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connected.shutdown(socket.SHUT_RDWR)


@lru_cache(maxsize=1)
def _trusted() -> ssl.SSLContext:
    """Return the system's authorities, read once."""
    return ssl.create_default_context()
