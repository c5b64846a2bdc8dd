"""A WSGI application for tests of failures: a file that fails before its end, and an unexpected error."""

import io
import logging
import sys

from campshub.core.http.responses import AT_ONCE, Download

logging.basicConfig(stream=sys.stderr, format="ours: %(message)s")


class Torn(io.RawIOBase):
    """A file whose beginning can be read, but not its end."""

    def __init__(self):
        super().__init__()
        self.is_begun = False

    def read(self, size=-1):
        if self.is_begun:
            raise ValueError("it goes on no further")
        self.is_begun = True
        return b"x" * size


def app(environ, start_response):
    """Start to send a file, or fail."""
    if environ["PATH_INFO"] == "/ready/":
        start_response("204 NO CONTENT", [])
        return []
    if environ["PATH_INFO"] == "/unforeseen/":
        raise ValueError("unexpected")
    file = Download(Torn(), "text/plain", "torn.txt", 2 * AT_ONCE)
    start_response("200 OK", file.headers())
    return file
