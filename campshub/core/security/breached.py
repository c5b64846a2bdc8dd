"""Breached passwords on disk: a Bloom filter, which is small and has no false negatives.

It has a few false positives, at the rate for which it was built. Its entries are SHA-1 digests, because public lists
consist of these; the content of the list is not secret.
"""

import hashlib
import math
import mmap
import re
import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

_MAGIC = b"CHBF1"
_HEADER = struct.Struct(">5sBQQ")  # magic, hashes, bits, entries
_DIGEST = re.compile(rb"([0-9A-Fa-f]{40})(?::\d+)?")
FALSE_POSITIVES = 0.001


class BadList(Exception):
    """The file is not a password list of CampsHub; the message names it."""


class BreachedList:
    """A memory-mapped list on disk."""

    def __init__(self, path: Path) -> None:
        """Open a list.

        :raises BadList: it does not exist, or is incomplete.
        """
        try:
            with path.open("rb") as file:
                self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            magic, self._hashes, self._bits, self.entries = _HEADER.unpack_from(self._bytes)
        except (OSError, ValueError, struct.error) as error:
            raise BadList(f"{path} is not a password list: {error}") from error
        if magic != _MAGIC or len(self._bytes) != _HEADER.size + (self._bits + 7) // 8:
            raise BadList(f"{path} is not a password list; make one with: flask passwords build-list")

    def __contains__(self, password: str) -> bool:
        for bit in _bits_of(digest_of(password.encode()), self._hashes, self._bits):
            if not self._bytes[_HEADER.size + bit // 8] & 1 << bit % 8:
                return False
        return True

    def close(self) -> None:
        """Close the file."""
        self._bytes.close()


def build(
    path: Path, digests: Callable[[], Iterable[bytes]], *, count: int, false_positives: float = FALSE_POSITIVES
) -> None:
    """Write a list atomically."""
    bits = max(8, math.ceil(-count * math.log(false_positives) / math.log(2) ** 2))
    hashes = max(1, round(bits / max(count, 1) * math.log(2)))
    temporary = path.with_name(f"{path.name}.new")
    with temporary.open("w+b") as file:
        file.truncate(_HEADER.size + (bits + 7) // 8)
        with mmap.mmap(file.fileno(), 0) as mapped:
            _HEADER.pack_into(mapped, 0, _MAGIC, hashes, bits, count)
            for digest in digests():
                for bit in _bits_of(digest, hashes, bits):
                    mapped[_HEADER.size + bit // 8] |= 1 << bit % 8
            mapped.flush()
    temporary.replace(path)


def digest_of(password: bytes) -> bytes:
    """Return the digest of a password in a list."""
    return hashlib.sha1(password, usedforsecurity=False).digest()


def digests_in(path: Path) -> Iterator[bytes]:
    """Read the source of a list: one password per line, or one SHA-1 in hexadecimal with or without ``:count``."""
    with path.open("rb") as file:
        for line in file:
            entry = line.rstrip(b"\r\n")
            if entry:
                found = _DIGEST.fullmatch(entry)
                yield bytes.fromhex(found[1].decode()) if found else digest_of(entry)


def _bits_of(digest: bytes, hashes: int, bits: int) -> Iterator[int]:
    first, step = int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:16], "big") | 1
    return ((first + number * step) % bits for number in range(hashes))
