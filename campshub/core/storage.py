"""Files that outlive a process: reports, archives; in a folder, or under any address that fsspec knows.

A file stands under its path when it is whole: it grows under another name and is moved at its end. Paths are made of
ids and fixed words, never of what people have written.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any
from uuid import UUID

from fsspec import get_filesystem_class
from fsspec.core import split_protocol, url_to_fs

from campshub.core.db.models import new_id
from campshub.core.threads import asyncio_loop

_PART = re.compile(r"[a-z0-9][a-z0-9._-]*")
_GROWING = ".new"


def path_of(organization_id: UUID, *parts: str | UUID) -> str:
    """Return the path of an organization's file.

    :raises ValueError: a part is no id and no plain word.
    """
    named = [str(part) for part in parts]
    for part in named:
        if not _PART.fullmatch(part):
            raise ValueError(f"no part of a path: {part!r}")
    return "/".join((str(organization_id), *named))


class Storage:
    """The files under one address."""

    def __init__(self, address: str) -> None:
        """Take an address (``/srv/files``, ``s3://bucket/folder``); nothing is asked of it yet."""
        self._address = address
        self._opened: tuple[Any, str] | None = None

    def check(self) -> None:
        """Write a file and delete it.

        :raises OSError: the storage takes no files; other classes are those of its fsspec package.
        """
        path = f"check-{new_id().hex}"
        with self.open_write(path) as file:
            file.write(b"check")
        self.delete(path)

    @contextmanager
    def open_write(self, path: str) -> Iterator[IO[bytes]]:
        """Write a file; it is there, whole, when the block ends, and not at all if the block fails."""
        files, growing = self._files(), f"{path}.{new_id().hex}{_GROWING}"
        files.makedirs(self._at(path).rpartition("/")[0], exist_ok=True)
        try:
            with files.open(self._at(growing), "wb") as file:
                yield file
            files.mv(self._at(growing), self._at(path))
        except BaseException:
            with suppress(FileNotFoundError):
                files.rm_file(self._at(growing))
            raise

    def open_read(self, path: str) -> IO[bytes]:
        """Open a file.

        :raises FileNotFoundError: it is not there.
        """
        opened: IO[bytes] = self._files().open(self._at(path), "rb")
        return opened

    def exists(self, path: str) -> bool:
        """Tell whether a file is there."""
        return bool(self._files().exists(self._at(path)))

    def size(self, path: str) -> int:
        """Return how many bytes a file has.

        :raises FileNotFoundError: it is not there.
        """
        return int(self._files().size(self._at(path)))

    def move(self, path: str, to: str) -> None:
        """Give a file another path; what stood there is gone."""
        self._files().makedirs(self._at(to).rpartition("/")[0], exist_ok=True)
        self._files().mv(self._at(path), self._at(to))

    def delete(self, path: str) -> None:
        """Delete a file, if it is there."""
        with suppress(FileNotFoundError):
            self._files().rm_file(self._at(path))

    def delete_folder(self, path: str) -> None:
        """Delete all that stands under a path, if anything does."""
        with suppress(FileNotFoundError):
            self._files().rm(self._at(path), recursive=True)

    def folder(self, path: str) -> list[str]:
        """Return the names in a folder; none where it is not there."""
        try:
            found = self._files().ls(self._at(path), detail=False)
        except FileNotFoundError:
            return []
        return sorted(str(one).rstrip("/").rpartition("/")[2] for one in found)

    def _files(self) -> Any:
        return self._open()[0]

    def _at(self, path: str) -> str:
        return f"{self._open()[1]}/{path}"

    def _open(self) -> tuple[Any, str]:
        if self._opened is None:
            options: dict[str, Any] = {"use_listings_cache": False}
            protocol = split_protocol(self._address)[0] or "file"
            if get_filesystem_class(protocol).async_impl and (loop := asyncio_loop()) is not None:
                options["loop"] = loop
            files, root = url_to_fs(self._address, **options)
            self._opened = files, str(root).rstrip("/")
        return self._opened
