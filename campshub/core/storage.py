"""Persistent files, such as reports and archives: in a folder, or at any URL that fsspec supports.

Files are written atomically: under a temporary name, and moved to their path when they are complete. Paths consist of
ids and fixed words, never of user input.
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
_TEMPORARY = ".new"


def path_of(organization_id: UUID, *parts: str | UUID) -> str:
    """Return the path of an organization's file.

    :raises ValueError: a part is neither an id nor a plain word.
    """
    names = [str(part) for part in parts]
    for part in names:
        if not _PART.fullmatch(part):
            raise ValueError(f"not a valid part of a path: {part!r}")
    return "/".join((str(organization_id), *names))


class Storage:
    """The files at one URL."""

    def __init__(self, url: str) -> None:
        """Take a URL or folder (``/srv/files``, ``s3://bucket/folder``), without connecting to it."""
        self._url = url
        self._opened: tuple[Any, str] | None = None

    def check(self) -> None:
        """Write a file and delete it.

        :raises OSError: the storage is not writable; its fsspec package may raise other classes.
        """
        path = f"check-{new_id().hex}"
        with self.open_write(path) as file:
            file.write(b"check")
        self.delete(path)

    @contextmanager
    def open_write(self, path: str) -> Iterator[IO[bytes]]:
        """Write a file atomically: it exists when the block ends, and not at all if the block fails."""
        files, temporary = self._files(), f"{path}.{new_id().hex}{_TEMPORARY}"
        files.makedirs(self._at(path).rpartition("/")[0], exist_ok=True)
        try:
            with files.open(self._at(temporary), "wb") as file:
                yield file
            files.mv(self._at(temporary), self._at(path))
        except BaseException:
            with suppress(FileNotFoundError):
                files.rm_file(self._at(temporary))
            raise

    def open_read(self, path: str) -> IO[bytes]:
        """Open a file.

        :raises FileNotFoundError: it does not exist.
        """
        opened: IO[bytes] = self._files().open(self._at(path), "rb")
        return opened

    def exists(self, path: str) -> bool:
        """Return whether a file exists."""
        return bool(self._files().exists(self._at(path)))

    def size(self, path: str) -> int:
        """Return the size of a file in bytes.

        :raises FileNotFoundError: it does not exist.
        """
        return int(self._files().size(self._at(path)))

    def move(self, path: str, to: str) -> None:
        """Move a file to another path, and replace a file that exists there."""
        self._files().makedirs(self._at(to).rpartition("/")[0], exist_ok=True)
        self._files().mv(self._at(path), self._at(to))

    def delete(self, path: str) -> None:
        """Delete a file, if it exists."""
        with suppress(FileNotFoundError):
            self._files().rm_file(self._at(path))

    def delete_folder(self, path: str) -> None:
        """Delete all files under a path, if there are any."""
        with suppress(FileNotFoundError):
            self._files().rm(self._at(path), recursive=True)

    def folder(self, path: str) -> list[str]:
        """Return the names in a folder; an empty list if it does not exist."""
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
            protocol = split_protocol(self._url)[0] or "file"
            if get_filesystem_class(protocol).async_impl and (loop := asyncio_loop()) is not None:
                options["loop"] = loop
            files, root = url_to_fs(self._url, **options)
            self._opened = files, str(root).rstrip("/")
        return self._opened
