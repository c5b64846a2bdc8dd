"""Intermediate storage of a report's rows: written in encrypted parts, read back one row at a time."""

import gzip
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

import orjson

from campshub.core.db.models import new_id
from campshub.core.security.stream_encryption import DecryptingReader, EncryptingWriter, FileIdentity
from campshub.core.storage import Storage, path_of
from campshub.reports.document import Row

_LEVEL = 3


def file_identity(organization_id: UUID, report_id: UUID, name: str) -> FileIdentity:
    """Return the identity of a report's finished file, to which its encryption is bound."""
    return FileIdentity(organization_id, "report", f"{report_id}/{name}")


class RowStore:
    """The parts of one report; each has a name that no other attempt uses."""

    def __init__(
        self,
        storage: Storage,
        keys: Mapping[str, bytes],
        *,
        organization_id: UUID,
        report_id: UUID,
        parts: Sequence[str] = (),
    ) -> None:
        self._storage, self._keys = storage, keys
        self._organization_id, self._report_id = organization_id, report_id
        self.parts = list(parts)

    def add(self, rows: Sequence[Row], after: Sequence[Any] | None) -> None:
        """Store rows and the keyset after them, which may contain a name and is therefore encrypted as well."""
        name = f"part-{new_id().hex}"
        with (
            self._storage.open_write(self._path(name)) as raw,
            EncryptingWriter(raw, self._keys, self._identity(name)) as encrypted,
            gzip.GzipFile(fileobj=encrypted, mode="wb", compresslevel=_LEVEL, mtime=0) as packed,
        ):
            packed.write(orjson.dumps(after) + b"\n")
            for row in rows:
                packed.write(orjson.dumps(row) + b"\n")
        self.parts.append(name)

    def after(self) -> Sequence[Any] | None:
        """Return the keyset after the last stored row; None before the first part and after the last one."""
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

    def _opened(self, part: str) -> "_LineReader":
        return _LineReader(
            DecryptingReader(self._storage.open_read(self._path(part)), self._keys, self._identity(part))
        )

    def _path(self, part: str) -> str:
        return path_of(self._organization_id, "reports", self._report_id, part)

    def _identity(self, part: str) -> FileIdentity:
        return FileIdentity(self._organization_id, "report-part", f"{self._report_id}/{part}")


class _LineReader(gzip.GzipFile):
    """Read compressed lines; closing this also closes the underlying file."""

    def __init__(self, opened: DecryptingReader) -> None:
        self._raw = opened
        super().__init__(fileobj=io.BufferedReader(opened), mode="rb")

    def close(self) -> None:
        super().close()
        self._raw.close_beneath()
