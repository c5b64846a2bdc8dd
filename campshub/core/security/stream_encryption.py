"""Stream encryption for files that do not fit into memory: libsodium's secretstream (XChaCha20-Poly1305).

An encrypted file is::

    magic "CHS2" | length of the header, 2 bytes | header | secretstream's header, 24 bytes | chunk | ... | final chunk

The header is JSON. It contains the id of the key in the ring, and the file's identity: organization, kind, id. It is
authenticated with every chunk, so a file decrypts only under the identity for which it was written. A chunk is 64 KiB
of plaintext (the final one has 0 to 64 KiB) and 17 bytes more. Secretstream chains the chunks and marks the final one,
so that no chunk can be changed, dropped, moved or brought from another file, and a truncated file is detected.
"""

import hmac
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import IO, TYPE_CHECKING
from uuid import UUID

import orjson
from nacl import bindings as sodium
from nacl.exceptions import CryptoError

from campshub.core.security.crypto import DecryptionFailed

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

MAGIC = b"CHS2"
CHUNK_BYTES = 64 * 1024
CHUNK_OVERHEAD_BYTES = sodium.crypto_secretstream_xchacha20poly1305_ABYTES
_LENGTH_BYTES = 2
_NONCE_BYTES = sodium.crypto_secretstream_xchacha20poly1305_HEADERBYTES
_MESSAGE = sodium.crypto_secretstream_xchacha20poly1305_TAG_MESSAGE
_FINAL = sodium.crypto_secretstream_xchacha20poly1305_TAG_FINAL
_USE = b"stream encryption"


@dataclass(frozen=True)
class FileIdentity:
    """The identity of an encrypted file; ``organization_id`` is None for files of the installation."""

    organization_id: UUID | None
    kind: str
    id: str

    def header(self, key_id: str) -> bytes:
        """Return the header of this file under a key."""
        names = {"key": key_id, "organization": self.organization_id, "kind": self.kind, "id": self.id}
        return orjson.dumps(names, option=orjson.OPT_SORT_KEYS)


class EncryptingWriter(io.RawIOBase):
    """Encrypts into another file: ``close`` writes the final chunk, ``abandon`` does not.

    The other file stays open; the code that opened it closes it. In a ``with`` block, an error abandons the stream, so
    that a partial file is never accepted as complete.
    """

    def __init__(self, raw: IO[bytes], keys: Mapping[str, bytes], identity: FileIdentity) -> None:
        """Write the header of a file under the first key of a ring."""
        super().__init__()
        self._raw, self._encryptor, self._is_complete = raw, _Encryptor(keys, identity), True
        raw.write(self._encryptor.header)

    def writable(self) -> bool:
        """Return that it takes writes."""
        return True

    def write(self, data: "ReadableBuffer") -> int:
        """Encrypt some bytes; full chunks are written at once, except the last one."""
        plain = memoryview(data).cast("B")
        for chunk in self._encryptor.update(plain):
            self._raw.write(chunk)
        return len(plain)

    def close(self) -> None:
        """Write the final chunk, unless the stream was abandoned."""
        if not self.closed and self._is_complete:
            self._is_complete = False
            self._raw.write(self._encryptor.finish())
        super().close()

    def abandon(self) -> None:
        """End without the final chunk, so that no reader accepts the file as complete."""
        self._is_complete = False
        self.close()

    def __exit__(self, kind: object, *_rest: object) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()

    def __del__(self) -> None:
        """End without the final chunk: the writer was not closed."""
        self._is_complete = False


class DecryptingReader(io.RawIOBase):
    """Decrypts a file as it is read; the other file stays open."""

    def __init__(self, raw: IO[bytes], keys: Mapping[str, bytes], identity: FileIdentity) -> None:
        super().__init__()
        self._raw = raw
        self._chunks = _decrypted(partial(_read_fully, raw), keys, identity)
        self._chunk, self._at, self._has_ended = b"", 0, False

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def readinto(self, into: "WriteableBuffer") -> int:
        """Read some plaintext.

        :raises DecryptionFailed: the file was changed or truncated, is another one, or its key is not in the ring.
        """
        while self._at == len(self._chunk) and not self._has_ended:
            chunk = next(self._chunks, None)
            if chunk is None:  # an earlier read has failed
                raise DecryptionFailed
            self._chunk, self._at, self._has_ended = chunk, 0, not chunk
        target = memoryview(into).cast("B")
        count = min(len(target), len(self._chunk) - self._at)
        target[:count] = self._chunk[self._at : self._at + count]
        self._at += count
        return count

    def close_beneath(self) -> None:
        """Close this reader and the encrypted file."""
        self.close()
        self._raw.close()


def new_stream_key() -> bytes:
    """Return a new key for one file; the caller stores it elsewhere."""
    return sodium.crypto_secretstream_xchacha20poly1305_keygen()


def encrypt_blocks(blocks: Iterable[bytes], keys: Mapping[str, bytes], identity: FileIdentity) -> Iterator[bytes]:
    """Encrypt a stream of blocks; the file is complete only with the last piece of output."""
    encryptor = _Encryptor(keys, identity)
    yield encryptor.header
    for block in blocks:
        yield from encryptor.update(memoryview(block))
    yield encryptor.finish()


def decrypt_blocks(blocks: Iterable[bytes], keys: Mapping[str, bytes], identity: FileIdentity) -> Iterator[bytes]:
    """Decrypt a file that comes in blocks of any size.

    :raises DecryptionFailed: the file was changed or truncated, is another one, or its key is not in the ring.
    """
    return filter(None, _decrypted(_Blocks(blocks).take, keys, identity))


class _Encryptor:
    """Encrypts one file chunk by chunk."""

    def __init__(self, keys: Mapping[str, bytes], identity: FileIdentity) -> None:
        key_id = next(iter(keys))
        self._state = sodium.crypto_secretstream_xchacha20poly1305_state()
        nonce = sodium.crypto_secretstream_xchacha20poly1305_init_push(self._state, _derived(keys[key_id]))
        self._names = identity.header(key_id)
        self.header = MAGIC + len(self._names).to_bytes(_LENGTH_BYTES, "big") + self._names + nonce
        self._pending = bytearray()

    def update(self, plain: memoryview) -> Iterable[bytes]:
        """Add some plaintext, and return full chunks; the last one is retained, because it may be the final one."""
        if len(self._pending) + len(plain) > CHUNK_BYTES:
            return self._full(plain)
        self._pending += plain  # gzip writes very often, mostly no bytes
        return ()

    def _full(self, plain: memoryview) -> Iterator[bytes]:
        at = CHUNK_BYTES - len(self._pending)
        yield self._push(b"".join((self._pending, plain[:at])), _MESSAGE)
        while len(plain) - at > CHUNK_BYTES:
            yield self._push(bytes(plain[at : at + CHUNK_BYTES]), _MESSAGE)
            at += CHUNK_BYTES
        self._pending = bytearray(plain[at:])

    def finish(self) -> bytes:
        """Return the final chunk."""
        return self._push(bytes(self._pending), _FINAL)

    def _push(self, plain: bytes, tag: int) -> bytes:
        return sodium.crypto_secretstream_xchacha20poly1305_push(self._state, plain, self._names, tag)


def _decrypted(take: Callable[[int], bytes], keys: Mapping[str, bytes], identity: FileIdentity) -> Iterator[bytes]:
    """Yield the chunks of a file, and then ``b""``: without it, the file is incomplete.

    :param take: returns the requested number of bytes, or fewer at the end.

    :raises DecryptionFailed: see ``decrypt_blocks``.
    """
    state, names = _opened(take, keys, identity)
    tag = _MESSAGE
    while tag != _FINAL:
        chunk = take(CHUNK_BYTES + CHUNK_OVERHEAD_BYTES)
        try:
            plain, tag = sodium.crypto_secretstream_xchacha20poly1305_pull(state, chunk, names)
        except CryptoError as error:
            raise DecryptionFailed from error
        if take(1) if tag == _FINAL else len(plain) != CHUNK_BYTES:
            raise DecryptionFailed
        if plain:
            yield plain
    yield b""


def _opened(
    take: Callable[[int], bytes], keys: Mapping[str, bytes], identity: FileIdentity
) -> tuple[sodium.crypto_secretstream_xchacha20poly1305_state, bytes]:
    """Read the headers of a file.

    :raises DecryptionFailed: they are not those of this file, or its key is not in the ring.
    """
    if take(len(MAGIC)) != MAGIC:
        raise DecryptionFailed
    names = take(int.from_bytes(take(_LENGTH_BYTES), "big"))
    nonce = take(_NONCE_BYTES)
    state = sodium.crypto_secretstream_xchacha20poly1305_state()
    try:
        key_id = orjson.loads(names)["key"]
        sodium.crypto_secretstream_xchacha20poly1305_init_pull(state, nonce, _derived(keys[key_id]))
    except (CryptoError, ValueError, KeyError, TypeError) as error:
        raise DecryptionFailed from error
    if names != identity.header(key_id):
        raise DecryptionFailed
    return state, names


def _read_fully(raw: IO[bytes], size: int) -> bytes:
    """Read ``size`` bytes, or fewer at the end; one read of a file may return less."""
    found = raw.read(size)
    while found and len(found) < size and (more := raw.read(size - len(found))):
        found += more
    return found


class _Blocks:
    """Cuts blocks of any size into pieces of the requested sizes."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks, self._buffer = iter(blocks), bytearray()

    def take(self, size: int) -> bytes:
        """Return ``size`` bytes, or fewer at the end."""
        while len(self._buffer) < size and (block := next(self._blocks, None)) is not None:
            self._buffer += block
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken


def _derived(key: bytes) -> bytes:
    """Derive the key for this use, because the ring's keys have other uses as well."""
    return hmac.digest(key, _USE, "sha256")
