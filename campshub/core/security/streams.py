"""Sealing what is too long for one piece: AES-256-GCM in chunks, under a key that is used for this stream alone.

Each chunk's nonce is its number and whether it is the last one, so a stream that was cut, reordered or extended does
not open. (This is the STREAM construction of Hoang, Reyhanitabar, Rogaway and Vizar, 2015.)
"""

from collections.abc import Iterable, Iterator

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from campshub.core.security.crypto import CannotOpen

CHUNK_BYTES = 65_536
TAG_BYTES = 16
KEY_BITS = 256
_COUNTER_BYTES = 11


def new_stream_key() -> bytes:
    """Return a key for one stream; a second one under it would repeat its nonces."""
    return AESGCM.generate_key(KEY_BITS)


def seal_stream(blocks: Iterable[bytes], key: bytes) -> Iterator[bytes]:
    """Seal blocks of any length, chunk by chunk; the last chunk says that it is, and may be empty."""
    cipher = AESGCM(key)
    for number, (chunk, is_last) in enumerate(_cut(blocks, CHUNK_BYTES)):
        yield cipher.encrypt(_nonce(number, is_last=is_last), chunk, None)


def open_stream(blocks: Iterable[bytes], key: bytes) -> Iterator[bytes]:
    """Open what ``seal_stream`` has sealed.

    :raises CannotOpen: the key is another, or the stream is not what was sealed, whole and in its order. What was
        yielded before is from the stream, in its order, but the stream is not whole.
    """
    cipher = AESGCM(key)
    for number, (chunk, is_last) in enumerate(_cut(blocks, CHUNK_BYTES + TAG_BYTES)):
        try:
            yield cipher.decrypt(_nonce(number, is_last=is_last), chunk, None)
        except InvalidTag as error:
            raise CannotOpen from error


def _cut(blocks: Iterable[bytes], size: int) -> Iterator[tuple[bytes, bool]]:
    """Yield chunks of a size, and with each whether it is the last; there is always a last one."""
    held = bytearray()
    for block in blocks:
        held += block
        while len(held) > size:  # not at the size itself: it may be the last one
            yield bytes(held[:size]), False
            del held[:size]
    yield bytes(held), True


def _nonce(number: int, *, is_last: bool) -> bytes:
    return number.to_bytes(_COUNTER_BYTES, "big") + bytes([is_last])
