"""Stream encryption for files that do not fit into memory: libsodium's secretstream (XChaCha20-Poly1305).

An encrypted file is::

    magic "CHS2" | length of the header, 2 bytes | header | secretstream's header, 24 bytes | chunk | ... | final chunk

The header is JSON. It names the key of the ring, and which file this is: organization, kind, id. It is authenticated
with every chunk, so a file opens only as what it was written as. A chunk is 64 KiB of plaintext (the final one has 0 to
64 KiB) and 17 bytes more. Secretstream chains the chunks and marks the final one, so that no chunk can be changed,
dropped, moved or brought from another file, and a truncated file is detected.
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

from campshub.core.security.crypto import CannotOpen

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
    """Which file a stream is; ``organization_id`` is None for files of the installation."""

    organization_id: UUID | None
    kind: str
    id: str

    def header(self, key_id: str) -> bytes:
        """Return the header of this file under a key."""
        names = {"key": key_id, "organization": self.organization_id, "kind": self.kind, "id": self.id}
        return orjson.dumps(names, option=orjson.OPT_SORT_KEYS)


class EncryptingWriter(io.RawIOBase):
    """Encrypts into another file: ``close`` writes the final chunk, ``abandon`` does not.

    The other file stays open; its opener closes it. Under ``with``, an error abandons the stream, so that a part is
    never taken for the whole file.
    """

    def __init__(self, raw: IO[bytes], keys: Mapping[str, bytes], identity: FileIdentity) -> None:
        """Write the header of a file under the first key of a ring."""
        super().__init__()
        self._raw, self._encryptor, self._is_whole = raw, _Encryptor(keys, identity), True
        raw.write(self._encryptor.header)

    def writable(self) -> bool:
        """Return that it takes writes."""
        return True

    def write(self, given: "ReadableBuffer") -> int:
        """Encrypt some bytes; full chunks are written at once, but for the last one."""
        plain = memoryview(given).cast("B")
        for chunk in self._encryptor.update(plain):
            self._raw.write(chunk)
        return len(plain)

    def close(self) -> None:
        """Write the final chunk, unless the stream was abandoned."""
        if not self.closed and self._is_whole:
            self._is_whole = False
            self._raw.write(self._encryptor.finish())
        super().close()

    def abandon(self) -> None:
        """End without the final chunk: no reader takes the file for whole."""
        self._is_whole = False
        self.close()

    def __exit__(self, kind: object, *_rest: object) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()

    def __del__(self) -> None:
        """End without the final chunk: the writer was not closed."""
        self._is_whole = False


class DecryptingReader(io.RawIOBase):
    """Decrypts a file as it is read; the other file stays open."""

    def __init__(self, raw: IO[bytes], keys: Mapping[str, bytes], identity: FileIdentity) -> None:
        super().__init__()
        self._raw = raw
        self._chunks = _decrypted(partial(_as_much, raw), keys, identity)
        self._chunk, self._at, self._has_ended = b"", 0, False

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def readinto(self, into: "WriteableBuffer") -> int:
        """Read some plaintext.

        :raises CannotOpen: the file was changed, truncated, is another one, or its key is not in the ring.
        """
        while self._at == len(self._chunk) and not self._has_ended:
            chunk = next(self._chunks, None)
            if chunk is None:  # an earlier read has failed
                raise CannotOpen
            self._chunk, self._at, self._has_ended = chunk, 0, not chunk
        target = memoryview(into).cast("B")
        count = min(len(target), len(self._chunk) - self._at)
        target[:count] = self._chunk[self._at : self._at + count]
        self._at += count
        return count

    def close_beneath(self) -> None:
        """Close the encrypted file too, where its opener leaves that to the reader."""
        self.close()
        self._raw.close()


def new_stream_key() -> bytes:
    """Return a key for one file, where it is stored elsewhere."""
    return sodium.crypto_secretstream_xchacha20poly1305_keygen()


def encrypt_blocks(blocks: Iterable[bytes], keys: Mapping[str, bytes], identity: FileIdentity) -> Iterator[bytes]:
    """Encrypt blocks as they come; the output is a whole file only with its last piece."""
    encryptor = _Encryptor(keys, identity)
    yield encryptor.header
    for block in blocks:
        yield from encryptor.update(memoryview(block))
    yield encryptor.finish()


def decrypt_blocks(blocks: Iterable[bytes], keys: Mapping[str, bytes], identity: FileIdentity) -> Iterator[bytes]:
    """Decrypt a file that comes in blocks of any size.

    :raises CannotOpen: the file was changed, truncated, is another one, or its key is not in the ring.
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
        """Take some plaintext, and return the chunks that are full; the last one waits, as it may be the final one."""
        if len(self._pending) + len(plain) > CHUNK_BYTES:
            return self._full(plain)
        self._pending += plain  # gzip writes very often, and mostly nothing
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
    """Yield the chunks of a file, and then ``b""``: where that is missing, the file is not whole.

    :param take: returns as many of the next bytes as are wanted, or fewer at the end.

    :raises CannotOpen: see ``decrypt_blocks``.
    """
    state, names = _opened(take, keys, identity)
    tag = _MESSAGE
    while tag != _FINAL:
        chunk = take(CHUNK_BYTES + CHUNK_OVERHEAD_BYTES)
        try:
            plain, tag = sodium.crypto_secretstream_xchacha20poly1305_pull(state, chunk, names)
        except CryptoError as error:
            raise CannotOpen from error
        if take(1) if tag == _FINAL else len(plain) != CHUNK_BYTES:
            raise CannotOpen
        if plain:
            yield plain
    yield b""


def _opened(
    take: Callable[[int], bytes], keys: Mapping[str, bytes], identity: FileIdentity
) -> tuple[sodium.crypto_secretstream_xchacha20poly1305_state, bytes]:
    """Read the headers of a file.

    :raises CannotOpen: they are not those of this file, or its key is not in the ring.
    """
    if take(len(MAGIC)) != MAGIC:
        raise CannotOpen
    names = take(int.from_bytes(take(_LENGTH_BYTES), "big"))
    nonce = take(_NONCE_BYTES)
    state = sodium.crypto_secretstream_xchacha20poly1305_state()
    try:
        key_id = orjson.loads(names)["key"]
        sodium.crypto_secretstream_xchacha20poly1305_init_pull(state, nonce, _derived(keys[key_id]))
    except (CryptoError, ValueError, KeyError, TypeError) as error:
        raise CannotOpen from error
    if names != identity.header(key_id):
        raise CannotOpen
    return state, names


def _as_much(raw: IO[bytes], size: int) -> bytes:
    """Read so many bytes, or fewer at the end; a file may return less at a time."""
    found = raw.read(size)
    while found and len(found) < size and (more := raw.read(size - len(found))):
        found += more
    return found


class _Blocks:
    """Cuts blocks of any size into pieces of the sizes that are wanted."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks, self._buffer = iter(blocks), bytearray()

    def take(self, size: int) -> bytes:
        """Return so many bytes, or fewer at the end."""
        while len(self._buffer) < size and (block := next(self._blocks, None)) is not None:
            self._buffer += block
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken


def _derived(key: bytes) -> bytes:
    """Return the key for this use: the ring's keys have other uses as well."""
    return hmac.digest(key, _USE, "sha256")
