"""Rows on their way into a report: gathered in parts, sealed, and read back one by one."""

import gzip
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from campshub.core.db.base import new_id
from campshub.core.security.stream_encryption import OpeningReader, SealingWriter
from campshub.core.storage import Storage
from campshub.reports.document import Row

_LEVEL = 3


class Spool:
    """The parts of one report, each under a name that no other attempt uses."""

    def __init__(self, storage: Storage, keys: Mapping[str, bytes], folder: str, parts: Sequence[str] = ()) -> None:
        self._storage, self._keys, self._folder = storage, keys, folder
        self.parts = list(parts)

    def add(self, rows: Sequence[Row], after: Sequence[Any] | None) -> None:
        """Keep some rows, and what the next ones come after: a name may be part of that, so it is sealed with them."""
        name = f"part-{new_id().hex}"
        path = f"{self._folder}/{name}"
        with (
            self._storage.open_write(path) as raw,
            SealingWriter(raw, self._keys, context=path) as sealed,
            gzip.GzipFile(fileobj=sealed, mode="wb", compresslevel=_LEVEL, mtime=0) as packed,
        ):
            packed.write(orjson.dumps(after) + b"\n")
            for row in rows:
                packed.write(orjson.dumps(row) + b"\n")
        self.parts.append(name)

    def after(self) -> Sequence[Any] | None:
        """Return what the next rows come after; None where there are none yet, or no more."""
        if not self.parts:
            return None
        with self._opened(self.parts[-1]) as lines:
            found: Sequence[Any] | None = orjson.loads(next(iter(lines)))
            return found

    def rows(self) -> Iterator[Row]:
        """Yield all rows."""
        for part in self.parts:
            with self._opened(part) as lines:
                next(iter(lines))
                for line in lines:
                    yield orjson.loads(line)

    def _opened(self, part: str) -> "_Lines":
        path = f"{self._folder}/{part}"
        return _Lines(OpeningReader(self._storage.open_read(path), self._keys, context=path))


class _Lines(gzip.GzipFile):
    """Reads packed lines, and closes what it reads from."""

    def __init__(self, opened: OpeningReader) -> None:
        self._beneath = opened
        super().__init__(fileobj=io.BufferedReader(opened), mode="rb")

    def close(self) -> None:
        super().close()
        self._beneath.close_beneath()
