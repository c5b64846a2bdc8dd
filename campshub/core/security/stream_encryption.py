"""Sealing what is too long to hold in memory: AES-256-GCM chunk by chunk, as files and archives need it.

A sealed stream is::

    magic "CHS1" | length of the key's id, 1 byte | key's id | salt, 16 bytes | chunk | chunk | ... | final chunk

Each chunk is 64 KiB of plain text (the final one less, or none at all) and its tag of 16 bytes. The stream's own key is
derived from the ring's key and the salt (HKDF-SHA256), so that a counter serves as nonce: 11 bytes of the chunk's
number, and one byte that is 1 on the final chunk alone. So no chunk can be changed, dropped, swapped, or brought from
another stream, and a stream that was cut off does not open to its end. The header and the context (which file this is)
are authenticated with every chunk.
"""

import io
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from campshub.core.security.crypto import CannotOpen

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

MAGIC = b"CHS1"
CHUNK_BYTES = 64 * 1024
TAG_BYTES = 16
SALT_BYTES = 16
KEY_BYTES = 32
_COUNTER_BYTES = 11


class SealingWriter(io.RawIOBase):
    """Seals what is written into another file; ``close`` writes the final chunk, ``abandon`` does not.

    The other file stays open: whoever opened it closes it. Under ``with``, an error abandons the stream, so that what
    was cut off can never be taken for the whole.
    """

    def __init__(self, raw: IO[bytes], keys: Mapping[str, bytes], *, context: str) -> None:
        """Begin a stream with the first key of a ring."""
        super().__init__()
        name = next(iter(keys))
        salt = os.urandom(SALT_BYTES)
        header = MAGIC + bytes([len(name.encode())]) + name.encode() + salt
        self._raw, self._cipher = raw, _cipher(keys[name], salt)
        self._bound_to = header + context.encode()
        self._kept, self._number, self._is_whole = bytearray(), 0, True
        raw.write(header)

    def writable(self) -> bool:
        """Tell that this is for writing."""
        return True

    def write(self, given: "ReadableBuffer") -> int:
        """Seal some bytes; whole chunks go out at once, but for the last one."""
        given = memoryview(given).cast("B")
        self._kept += given
        while len(self._kept) > CHUNK_BYTES:
            self._put(bytes(self._kept[:CHUNK_BYTES]), is_final=False)
            del self._kept[:CHUNK_BYTES]
        return len(given)

    def close(self) -> None:
        """Write the final chunk, unless the stream was abandoned."""
        if not self.closed and self._is_whole:
            self._is_whole = False
            self._put(bytes(self._kept), is_final=True)
        super().close()

    def abandon(self) -> None:
        """End without the final chunk: nobody can read this to its end."""
        self._is_whole = False
        self.close()

    def __exit__(self, kind: object, *_rest: object) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()

    def __del__(self) -> None:
        """End without the final chunk, whatever became of whoever was to close it."""
        self._is_whole = False

    def _put(self, plain: bytes, *, is_final: bool) -> None:
        self._raw.write(self._cipher.encrypt(_nonce(self._number, is_final=is_final), plain, self._bound_to))
        self._number += 1


class OpeningReader(io.RawIOBase):
    """Opens a sealed stream as it is read; the other file stays open."""

    def __init__(self, raw: IO[bytes], keys: Mapping[str, bytes], *, context: str) -> None:
        """Read the header.

        :raises CannotOpen: it is no sealed stream, or its key is not in the ring.
        """
        super().__init__()
        header = _exactly(raw, len(MAGIC) + 1)
        if header[:-1] != MAGIC:
            raise CannotOpen
        name = _exactly(raw, header[-1])
        salt = _exactly(raw, SALT_BYTES)
        key = keys.get(name.decode(errors="replace"))
        if key is None:
            raise CannotOpen
        self._raw, self._cipher = raw, _cipher(key, salt)
        self._bound_to = header + name + salt + context.encode()
        self._number, self._at, self._plain = 0, 0, b""
        self._next: bytes = _as_much(raw, CHUNK_BYTES + TAG_BYTES)
        self._is_over = False

    def readable(self) -> bool:
        """Tell that this is for reading."""
        return True

    def readinto(self, into: "WriteableBuffer") -> int:
        """Read some plain bytes.

        :raises CannotOpen: the stream was changed, cut off, or belongs elsewhere.
        """
        while self._at == len(self._plain):
            if self._is_over:
                return 0
            self._plain, self._at = self._take(), 0
        target = memoryview(into).cast("B")
        count = min(len(target), len(self._plain) - self._at)
        target[:count] = self._plain[self._at : self._at + count]
        self._at += count
        return count

    def close_beneath(self) -> None:
        """Close the sealed file too, which whoever opened it may have left to the reader."""
        self.close()
        self._raw.close()

    def _take(self) -> bytes:
        """Open the next chunk: the final one is that after which nothing comes, and says so itself."""
        chunk, self._next = self._next, _as_much(self._raw, CHUNK_BYTES + TAG_BYTES)
        self._is_over = not self._next
        try:
            plain = self._cipher.decrypt(_nonce(self._number, is_final=self._is_over), chunk, self._bound_to)
        except (InvalidTag, ValueError) as error:
            raise CannotOpen from error
        self._number += 1
        return plain


def new_stream_key() -> bytes:
    """Return a key for one stream, where the stream's own key is kept elsewhere."""
    return AESGCM.generate_key(8 * KEY_BYTES)


def seal_stream(blocks: Iterable[bytes], key: bytes) -> Iterator[bytes]:
    """Seal blocks as they come, under a key of their own; what comes out is whole only with the last piece."""
    sealed = _Pieces()
    writer = SealingWriter(sealed, {"": key}, context="")
    for block in blocks:
        writer.write(block)
        yield from sealed.taken()
    writer.close()
    yield from sealed.taken()


def open_stream(blocks: Iterable[bytes], key: bytes) -> Iterator[bytes]:
    """Open blocks of any size that were sealed under a key of their own.

    :raises CannotOpen: they were changed, cut off, or sealed under another key.
    """
    reader = OpeningReader(io.BufferedReader(_Blocks(blocks), CHUNK_BYTES), {"": key}, context="")
    while piece := reader.read(CHUNK_BYTES):
        yield piece


class _Pieces(io.BytesIO):
    """A file that is emptied as it is written."""

    def taken(self) -> Iterator[bytes]:
        """Take out what has been written since the last time."""
        if piece := self.getvalue():
            self.seek(0)
            self.truncate()
            yield piece


class _Blocks(io.RawIOBase):
    """Blocks as a file."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        super().__init__()
        self._blocks, self._left = iter(blocks), memoryview(b"")

    def readable(self) -> bool:
        """Tell that this is for reading."""
        return True

    def readinto(self, into: "WriteableBuffer") -> int:
        """Read some bytes."""
        while not self._left:
            try:
                self._left = memoryview(next(self._blocks))
            except StopIteration:
                return 0
        target = memoryview(into).cast("B")
        count = min(len(target), len(self._left))
        target[:count], self._left = self._left[:count], self._left[count:]
        return count


def _cipher(key: bytes, salt: bytes) -> AESGCM:
    derived = HKDF(SHA256(), KEY_BYTES, salt=salt, info=b"campshub sealed stream").derive(key)
    return AESGCM(derived)


def _nonce(number: int, *, is_final: bool) -> bytes:
    return number.to_bytes(_COUNTER_BYTES, "big") + bytes([is_final])


def _exactly(raw: IO[bytes], size: int) -> bytes:
    found = _as_much(raw, size)
    if len(found) != size:
        raise CannotOpen
    return found


def _as_much(raw: IO[bytes], size: int) -> bytes:
    """Read as many bytes as are there, up to a size; a file may hand out less at a time."""
    found = raw.read(size)
    while found and len(found) < size and (more := raw.read(size - len(found))):
        found += more
    return found
