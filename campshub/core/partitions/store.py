"""The archive storage: compressed CSV with a manifest, encrypted if a key is set, at any URL that fsspec supports.

A month's folder contains one folder per archive run. The manifest is written last, so a folder without a manifest is
not an archive; the newest folder with a manifest is the archive of the month.
"""

import hashlib
import os
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from campshub.config import Settings, read_keys
from campshub.core.db.models import new_id
from campshub.core.partitions.locks import MonthsProblem
from campshub.core.partitions.manifests import ROWS, Checksum, DamagedArchive, Manifest, read_manifest
from campshub.core.security.crypto import DecryptionFailed, KeyRing
from campshub.core.security.signing import SigningKeys
from campshub.core.security.stream_encryption import FileIdentity, decrypt_blocks, encrypt_blocks, new_stream_key

MANIFEST = "manifest.json"
BLOCK_BYTES = 1_048_576
_LEVEL = 5  # of gzip: a tenth larger than at the highest level, in a third of the time
_GZIP = 31  # zlib's ``wbits`` for gzip with the largest window
_KIND = "archive"
_OWN_KEY = "own"  # the key in the manifest
_ENDED = b"\n"
_QUOTE = b'"'


class NoArchiveFolder(MonthsProblem):
    """The storage of ``ARCHIVE_URL`` cannot be used."""


class NotArchived(MonthsProblem):
    """There is no archive of this month."""


@dataclass
class Written:
    """Rows that have been stored, and whose manifest has not."""

    id: str
    plain: Checksum = field(default_factory=Checksum)
    stored: Checksum = field(default_factory=Checksum)
    key: bytes | None = None


class Archives:
    """The archived months of an installation."""

    def __init__(self, settings: Settings, *, allow_unsigned: bool = False) -> None:
        """Take the URL from ``ARCHIVE_URL`` and the keys from ``ARCHIVE_KEYS``.

        :param allow_unsigned: accept an archive without a signature, which was written before there were keys.
        :raises NoArchiveFolder: the URL is invalid, or the package that it needs is not installed.
        """
        keys = read_keys(settings.archive_keys) if settings.archive_keys else None
        self._ring = KeyRing(keys) if keys else None
        self._signing = SigningKeys(keys, use="archive manifests") if keys else None
        self._allow_unsigned = allow_unsigned
        try:
            # No cached listings, so that files of other processes are found.
            self._files, root = fsspec.url_to_fs(settings.archive_url, use_listings_cache=False)
        except (ImportError, ValueError) as error:
            raise NoArchiveFolder(f"ARCHIVE_URL cannot be used: {' '.join(str(error).split())}") from error
        self._root = root.rstrip("/")
        self._is_folder = isinstance(self._files, LocalFileSystem)

    # Finding ---------------------------------------------------------------------------------------------------------

    def all(self) -> list[Manifest]:
        """Return the newest archive of each month.

        :raises DamagedArchive: a manifest cannot be read.
        """
        newest: dict[tuple[str, date], Manifest] = {}
        for path in sorted(self._glob(f"*/*/*/{MANIFEST}")):  # the ids sort by creation time
            manifest = self._read_manifest(path)
            newest[manifest.table, manifest.month] = manifest
        return list(newest.values())

    def newest(self, table: str, month: date) -> Manifest | None:
        """Return the newest archive of a month; None if there is none.

        :raises DamagedArchive: its manifest cannot be read, or is another month's.
        """
        paths = sorted(self._glob(f"{table}/{month:%Y-%m}/*/{MANIFEST}"))
        if not paths:
            return None
        return self._read_manifest(paths[-1])

    def months(self, table: str) -> frozenset[date]:
        """Return the archived months of a table."""
        return frozenset(manifest.month for manifest in self.all() if manifest.table == table)

    def _glob(self, pattern: str) -> list[str]:
        self._files.invalidate_cache()  # another process may have written
        return [str(path) for path in self._files.glob(f"{self._root}/{pattern}")]

    def _read_manifest(self, path: str) -> Manifest:
        return read_manifest(self._files.cat_file(path), path)

    # Writing ---------------------------------------------------------------------------------------------------------

    def write(self, table: str, month: date, rows: Iterable[bytes]) -> Written:
        """Stream rows to the storage, with little memory; they become an archive with ``finish``."""
        written = Written(f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{new_id().hex[-6:]}")
        blocks = _zip(_summed(rows, written.plain))
        if self._ring is not None:
            written.key = new_stream_key()
            identity = FileIdentity(None, _KIND, f"{table}/{month:%Y-%m}/{written.id}")
            blocks = encrypt_blocks(blocks, {_OWN_KEY: written.key}, identity)
        folder = f"{self._root}/{table}/{month:%Y-%m}/{written.id}"
        self._make_folder(folder)
        file = f"{folder}/{ROWS}{'.sealed' if written.key else ''}"
        with self._files.open(file, "wb") as stored:
            for block in _summed(blocks, written.stored):
                stored.write(block)
        self._sync(file)
        return written

    def finish(self, manifest: Manifest, written: Written) -> Manifest:
        """Write the manifest of stored rows, which completes the archive; return it with its key and signature."""
        if written.key is not None and self._ring is not None and self._signing is not None:
            manifest = replace(manifest, key=self._ring.seal(written.key, context=manifest.context()))
            manifest = replace(manifest, mac=self._signing.sign(manifest.content()))
        folder = f"{self._root}/{manifest.folder}"
        self._files.pipe_file(f"{folder}/.{MANIFEST}.part", manifest.write())
        self._sync(f"{folder}/.{MANIFEST}.part")
        self._files.mv(f"{folder}/.{MANIFEST}.part", f"{folder}/{MANIFEST}")
        self._sync(f"{folder}/{MANIFEST}")
        return manifest

    def clear(self, table: str, month: date) -> None:
        """Remove the folders of a month's interrupted exports."""
        for folder in self._glob(f"{table}/{month:%Y-%m}/*"):
            if not self._files.exists(f"{folder}/{MANIFEST}"):
                self._files.rm(folder, recursive=True)

    def _make_folder(self, folder: str) -> None:
        if not self._is_folder:
            self._files.makedirs(folder, exist_ok=True)
        else:
            Path(folder).parent.mkdir(parents=True, exist_ok=True)
            Path(folder).mkdir(mode=0o700)  # only the owner may read the rows

    def _sync(self, path: str) -> None:
        """Flush a local file to disk: its rows are dropped from the database next."""
        if not self._is_folder:
            return  # other storages confirm a write when it is durable
        for entry in (Path(path), *list(Path(path).parents)[:4]):  # the file, and the folders of its path
            descriptor = os.open(entry, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    # Reading ---------------------------------------------------------------------------------------------------------

    def read(self, manifest: Manifest) -> Iterator[bytes]:
        """Yield an archive's rows as CSV, read from the storage; it is verified only after the last block.

        :raises DamagedArchive: it differs from what was written, is not signed with our key, or its key is missing.
        """
        self._check_signature(manifest)
        plain, stored, lines = Checksum(), Checksum(), _RowCounter()
        try:
            blocks = _summed(self._stored(manifest), stored)
            if manifest.key is not None:
                identity = FileIdentity(None, _KIND, manifest.folder)
                blocks = decrypt_blocks(blocks, {_OWN_KEY: self._open_key(manifest)}, identity)
            for block in _summed(_unzip(blocks), plain):
                lines.count(block)
                yield block
        except FileNotFoundError as error:
            raise DamagedArchive(f"{manifest.file} does not exist.") from error
        except (DecryptionFailed, zlib.error) as error:
            raise DamagedArchive(f"{manifest.file} is damaged: it cannot be decrypted or decompressed.") from error
        rows = lines.rows - 1  # without the header
        for name, found, expected in (
            ("stored bytes", stored, manifest.stored),
            ("rows", plain, manifest.plain),
            ("number of rows", rows, manifest.rows),
        ):
            if found != expected:
                raise DamagedArchive(f"{manifest.file} is damaged: the {name} differ from the manifest.")

    def verify(self, manifest: Manifest) -> None:
        """Read an archive back from the storage and check it.

        :raises DamagedArchive: it differs from what was written, or its key is missing.
        """
        for _ in self.read(manifest):
            pass

    def _check_signature(self, manifest: Manifest) -> None:
        """Check the manifest's signature: an attacker who changes the rows can also recompute the checksums."""
        if self._signing is None:
            return
        if manifest.mac is None:
            if not self._allow_unsigned:
                raise DamagedArchive(
                    f"{manifest.file} is not signed, and ARCHIVE_KEYS is set: it is forged, or was made before a key"
                    " was set (then: flask partitions restore --unsealed)."
                )
        elif manifest.key is None or not self._signing.verify(manifest.mac, manifest.content()):
            raise DamagedArchive(
                f"{manifest.file} has no valid signature: no key of ARCHIVE_KEYS has signed it, or its manifest was"
                " changed."
            )

    def _stored(self, manifest: Manifest) -> Iterator[bytes]:
        with self._files.open(f"{self._root}/{manifest.file}", "rb") as stored:
            while block := stored.read(BLOCK_BYTES):
                yield block

    def _open_key(self, manifest: Manifest) -> bytes:
        name = (manifest.key or "").partition(".")[0]
        if self._ring is None:
            raise DamagedArchive(f"{manifest.file} is encrypted with the key {name}, and ARCHIVE_KEYS is empty.")
        try:
            return self._ring.open(manifest.key or "", context=manifest.context())
        except DecryptionFailed as error:
            raise DamagedArchive(
                f"{manifest.file} cannot be decrypted: ARCHIVE_KEYS has no key {name}, or its manifest was changed."
            ) from error


class _RowCounter:
    """Counts the rows of CSV as COPY writes it: a line break within quotes does not end a row."""

    def __init__(self) -> None:
        self.rows = 0
        self._quotes = 0

    def count(self, block: bytes) -> None:
        """Count the rows that end in a block."""
        if _QUOTE not in block and self._quotes % 2 == 0:
            self.rows += block.count(_ENDED)
            return
        pieces = block.split(_ENDED)
        for piece in pieces[:-1]:
            self._quotes += piece.count(_QUOTE)
            self.rows += self._quotes % 2 == 0
        self._quotes += pieces[-1].count(_QUOTE)


def _summed(blocks: Iterable[bytes], into: Checksum) -> Iterator[bytes]:
    """Yield blocks unchanged, and store their length and SHA-256 in ``into`` at the end."""
    digest = hashlib.sha256()
    for block in blocks:
        digest.update(block)
        into.bytes += len(block)
        yield block
    into.sha256 = digest.hexdigest()


def _zip(blocks: Iterable[bytes]) -> Iterator[bytes]:
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
    for block in blocks:
        if packed := packer.compress(block):
            yield packed
    yield packer.flush()


def _unzip(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Decompress into pieces of bounded size, whatever the blocks contain.

    :raises zlib.error: it is not gzip, or incomplete.
    """
    packer: Any = zlib.decompressobj(_GZIP)
    for block in blocks:
        remaining = block
        while remaining:
            if piece := packer.decompress(remaining, BLOCK_BYTES):
                yield piece
            remaining = packer.unconsumed_tail
        if packer.unused_data:
            raise zlib.error("data after the end")
    if piece := packer.flush():
        yield piece
    if not packer.eof:
        raise zlib.error("unexpected end")
