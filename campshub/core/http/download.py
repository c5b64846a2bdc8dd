"""A file as an answer: sent as it is read, under its own name, and not kept on the way."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

AT_ONCE = 64 * 1024


@dataclass(frozen=True)
class Download:
    """A file to be sent; ``file`` is closed with the answer."""

    file: Any
    media_type: str
    name: str
    size: int | None = None

    def headers(self) -> list[tuple[str, str]]:
        """Return what is said of the file (RFC 6266); browsers keep it, and do not guess what it is."""
        plain = "".join(letter if letter.isalnum() or letter in "-._ " else "_" for letter in self.name)
        plain = plain.encode("ascii", "replace").decode().replace("?", "_")
        told = [
            ("Content-Type", self.media_type),
            ("Content-Disposition", f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(self.name, safe='')}"),
        ]
        return told if self.size is None else [*told, ("Content-Length", str(self.size))]

    def __iter__(self) -> Iterator[bytes]:
        """Yield the file, some at a time."""
        while some := self.file.read(AT_ONCE):
            yield some

    def close(self) -> None:
        """Close the file, sent or not."""
        getattr(self.file, "close_beneath", self.file.close)()
