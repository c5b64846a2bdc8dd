"""Passwords that are known to many, on disk: a Bloom filter, which is small and never misses one that it was given.

It takes a few others for known ones, as many as it was built for. Its entries are SHA-1 digests, because that is what
public lists consist of; it need not be secret what is in it.
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
    """The file is no list of ours; the message says which."""


class BreachedList:
    """A list on disk, read where it lies."""

    def __init__(self, path: Path) -> None:
        """Open a list.

        :raises BadList: there is none, or it is not whole.
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
        for place in _places(digest_of(password.encode()), self._hashes, self._bits):
            if not self._bytes[_HEADER.size + place // 8] & 1 << place % 8:
                return False
        return True

    def close(self) -> None:
        """Let the file go."""
        self._bytes.close()


def build(
    path: Path, digests: Callable[[], Iterable[bytes]], *, count: int, false_positives: float = FALSE_POSITIVES
) -> None:
    """Write a list; the file stands there when it is whole."""
    bits = max(8, math.ceil(-count * math.log(false_positives) / math.log(2) ** 2))
    hashes = max(1, round(bits / max(count, 1) * math.log(2)))
    growing = path.with_name(f"{path.name}.new")
    with growing.open("w+b") as file:
        file.truncate(_HEADER.size + (bits + 7) // 8)
        with mmap.mmap(file.fileno(), 0) as made:
            _HEADER.pack_into(made, 0, _MAGIC, hashes, bits, count)
            for digest in digests():
                for place in _places(digest, hashes, bits):
                    made[_HEADER.size + place // 8] |= 1 << place % 8
            made.flush()
    growing.replace(path)


def digest_of(password: bytes) -> bytes:
    """Return what stands for a password in a list."""
    return hashlib.sha1(password, usedforsecurity=False).digest()


def digests_in(path: Path) -> Iterator[bytes]:
    """Read a list's source: a password a line, or a SHA-1 in hexadecimal with or without ``:count``."""
    with path.open("rb") as file:
        for line in file:
            word = line.rstrip(b"\r\n")
            if word:
                found = _DIGEST.fullmatch(word)
                yield bytes.fromhex(found[1].decode()) if found else digest_of(word)


def _places(digest: bytes, hashes: int, bits: int) -> Iterator[int]:
    first, step = int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:16], "big") | 1
    return ((first + number * step) % bits for number in range(hashes))
