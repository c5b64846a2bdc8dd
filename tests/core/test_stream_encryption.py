"""Sealed streams: what comes out is what went in, and nothing else opens."""

import io

import pytest

from campshub.core.security.crypto import CannotOpen
from campshub.core.security.stream_encryption import CHUNK_BYTES, TAG_BYTES, OpeningReader, SealingWriter

KEYS = {"new": b"n" * 32, "old": b"o" * 32}
HEADER = len(b"CHS1") + 1 + len("new") + 16
WHOLE = CHUNK_BYTES + TAG_BYTES


def sealed(plain: bytes, keys=KEYS, context="reports:1") -> bytes:
    raw = io.BytesIO()
    with SealingWriter(raw, keys, context=context) as writer:
        for at in range(0, len(plain), 10_007):
            writer.write(plain[at : at + 10_007])
    return raw.getvalue()


def opened(kept: bytes, keys=KEYS, context="reports:1") -> bytes:
    return OpeningReader(io.BytesIO(kept), keys, context=context).readall()


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES, 200_000])
def test_what_was_sealed_opens(size):
    plain = bytes(number % 251 for number in range(size))

    kept = sealed(plain)

    assert opened(kept) == plain
    assert plain == b"" or plain[:64] not in kept or size == 1


def test_the_first_key_seals_and_an_older_one_still_opens():
    kept = sealed(b"register", {"old": KEYS["old"]})

    assert opened(kept) == b"register"
    with pytest.raises(CannotOpen):
        opened(kept, {"new": KEYS["new"]})
    with pytest.raises(CannotOpen):
        opened(kept, {"old": KEYS["new"]})


def test_it_opens_in_its_own_place_alone():
    with pytest.raises(CannotOpen):
        opened(sealed(b"register"), context="reports:2")


@pytest.mark.parametrize("size", [100, 3 * CHUNK_BYTES, 3 * CHUNK_BYTES + 100])
def test_nothing_that_was_changed_cut_off_or_moved_opens(size):
    kept = sealed(b"x" * size)
    first = kept[HEADER : HEADER + WHOLE]
    wrong = {
        "the end cut off": kept[:-1],
        "no final chunk": kept[: HEADER + (len(kept) - HEADER - 1) // WHOLE * WHOLE],
        "one bit": bytes([*kept[:-1], kept[-1] ^ 1]),
        "another salt": kept[: HEADER - 1] + bytes([kept[HEADER - 1] ^ 1]) + kept[HEADER:],
        "something after it": kept + b"y",
        "a chunk twice": kept[:HEADER] + first + kept[HEADER:],
        "nothing": b"",
        "no stream": b"PK\x03\x04" + kept[4:],
        "another stream's chunk": kept[:HEADER] + sealed(b"x" * size)[HEADER:],
    }
    if size > CHUNK_BYTES:
        wrong["two swapped"] = (
            kept[:HEADER] + kept[HEADER + WHOLE : HEADER + 2 * WHOLE] + first + kept[HEADER + 2 * WHOLE :]
        )
    for what, bytes_ in wrong.items():
        with pytest.raises(CannotOpen):
            pytest.fail(f"{what} opened: {len(opened(bytes_))} bytes")


def test_a_stream_whose_writer_failed_is_not_taken_for_whole():
    raw = io.BytesIO()
    with pytest.raises(ZeroDivisionError), SealingWriter(raw, KEYS, context="reports:1") as writer:
        writer.write(b"half of it")
        raise ZeroDivisionError

    with pytest.raises(CannotOpen):
        opened(raw.getvalue())


def test_the_same_words_look_different_each_time():
    assert sealed(b"register")[HEADER:] != sealed(b"register")[HEADER:]
