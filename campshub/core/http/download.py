"""A file as an answer: sent as it is read, under its own name, and not kept on the way."""

import errno
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

log = logging.getLogger(__name__)

AT_ONCE = 64 * 1024
_TURN_S = 1e-6  # after 0, gevent would look at sockets and timers only every 5 ms
OCTETS = "application/octet-stream"


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
