"""Stream encryption: a file decrypts to the same bytes, and only if it is complete, unchanged and in its place."""

import io
import random
from dataclasses import replace
from uuid import UUID

import pytest

from campshub.core.security.crypto import DecryptionFailed
from campshub.core.security.stream_encryption import (
    CHUNK_BYTES,
    CHUNK_OVERHEAD_BYTES,
    DecryptingReader,
    EncryptingWriter,
    FileIdentity,
    decrypt_blocks,
    encrypt_blocks,
    new_stream_key,
)

KEYS = {"new": b"n" * 32, "old": b"o" * 32}
FILE = FileIdentity(UUID(int=1), "report", "1/file-1")
HEAD_BYTES = len(b"CHS2") + 2 + len(FILE.header("new")) + 24
WHOLE = CHUNK_BYTES + CHUNK_OVERHEAD_BYTES
SIZES = [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES, 200_000]


def encrypted(plain: bytes, keys=KEYS, identity=FILE, at_once=10_007) -> bytes:
    raw = io.BytesIO()
    with EncryptingWriter(raw, keys, identity) as writer:
        for at in range(0, len(plain), at_once):
            writer.write(plain[at : at + at_once])
    return raw.getvalue()


def decrypted(stored: bytes, keys=KEYS, identity=FILE) -> bytes:
    return DecryptingReader(io.BytesIO(stored), keys, identity).readall()


@pytest.mark.parametrize("size", SIZES)
def test_an_encrypted_file_decrypts_to_the_same_bytes(size):
    plain = bytes(number % 251 for number in range(size))

    stored = encrypted(plain)

    assert decrypted(stored) == plain
    assert plain == b"" or plain[:64] not in stored or size == 1
    assert decrypted(encrypted(plain, at_once=150_000)) == plain


@pytest.mark.parametrize("size", SIZES)
def test_blocks_may_have_any_size(size):
    keys, plain = {"own": new_stream_key()}, random.Random(size).randbytes(size)
    stored = b"".join(encrypt_blocks([plain[:7], plain[7:]], keys, FILE))

    assert b"".join(decrypt_blocks([stored], keys, FILE)) == plain
    assert b"".join(decrypt_blocks((stored[n : n + 1000] for n in range(0, len(stored), 1000)), keys, FILE)) == plain
    assert decrypted(stored, keys) == plain


def test_the_first_key_encrypts_and_an_older_one_still_decrypts():
    stored = encrypted(b"register", {"old": KEYS["old"]})

    assert decrypted(stored) == b"register"
    with pytest.raises(DecryptionFailed):
        decrypted(stored, {"new": KEYS["new"]})
    with pytest.raises(DecryptionFailed):
        decrypted(stored, {"old": KEYS["new"]})


@pytest.mark.parametrize(
    "other", [{"organization_id": UUID(int=2)}, {"organization_id": None}, {"kind": "report-part"}, {"id": "1/file-2"}]
)
def test_a_file_decrypts_only_under_its_own_identity(other):
    stored, identity = encrypted(b"register"), replace(FILE, **other)

    with pytest.raises(DecryptionFailed):
        decrypted(stored, identity=identity)
    names = FILE.header("new")
    renamed = identity.header("new")
    head = stored[:4] + len(renamed).to_bytes(2, "big") + renamed
    with pytest.raises(DecryptionFailed):  # the authenticated data includes the header
        decrypted(head + stored[4 + 2 + len(names) :], identity=identity)


@pytest.mark.parametrize("size", [100, 3 * CHUNK_BYTES, 3 * CHUNK_BYTES + 100])
def test_a_changed_truncated_or_reordered_file_does_not_decrypt(size):
    stored = encrypted(b"x" * size)
    first = stored[HEAD_BYTES : HEAD_BYTES + WHOLE]
    wrong = {
        "the end cut off": stored[:-1],
        "no final chunk": stored[: HEAD_BYTES + (len(stored) - HEAD_BYTES - 1) // WHOLE * WHOLE],
        "one bit": bytes([*stored[:-1], stored[-1] ^ 1]),
        "another nonce": stored[: HEAD_BYTES - 1] + bytes([stored[HEAD_BYTES - 1] ^ 1]) + stored[HEAD_BYTES:],
        "another length of the header": stored[:5] + bytes([stored[5] ^ 1]) + stored[6:],
        "something after it": stored + b"y",
        "a chunk twice": stored[:HEAD_BYTES] + first + stored[HEAD_BYTES:],
        "another key of the ring": stored.replace(b'"new"', b'"old"', 1),
        "nothing": b"",
        "a header alone": stored[: HEAD_BYTES - 24],
        "no header": stored[:4] + bytes(2) + stored[HEAD_BYTES - 24 :],
        "no names": stored[:4] + b"\x00\x03[1]" + stored[HEAD_BYTES - 24 :],
        "no stream": b"PK\x03\x04" + stored[4:],
        "another file's chunks": stored[:HEAD_BYTES] + encrypted(b"x" * size)[HEAD_BYTES:],
    }
    if size > CHUNK_BYTES:
        second = stored[HEAD_BYTES + WHOLE : HEAD_BYTES + 2 * WHOLE]
        wrong["two swapped"] = stored[:HEAD_BYTES] + second + first + stored[HEAD_BYTES + 2 * WHOLE :]
        wrong["the first left out"] = stored[:HEAD_BYTES] + stored[HEAD_BYTES + WHOLE :]
    for what, bytes_ in wrong.items():
        with pytest.raises(DecryptionFailed):
            pytest.fail(f"{what} decrypted: {len(decrypted(bytes_))} bytes")
        with pytest.raises(DecryptionFailed):
            pytest.fail(f"{what} decrypted: {len(list(decrypt_blocks([bytes_], KEYS, FILE)))} chunks")


def test_a_reader_that_has_failed_does_not_report_an_end():
    reader = DecryptingReader(io.BytesIO(encrypted(b"x" * 100)[:-1]), KEYS, FILE)

    for _ in range(2):
        with pytest.raises(DecryptionFailed):
            reader.read(10)


def test_a_file_whose_writer_failed_is_incomplete():
    raw = io.BytesIO()
    with pytest.raises(ZeroDivisionError), EncryptingWriter(raw, KEYS, FILE) as writer:
        writer.write(b"half of it")
        raise ZeroDivisionError

    with pytest.raises(DecryptionFailed):
        decrypted(raw.getvalue())


def test_a_file_whose_writer_was_not_closed_is_incomplete():
    raw = io.BytesIO()
    EncryptingWriter(raw, KEYS, FILE).write(b"half of it")

    with pytest.raises(DecryptionFailed):
        decrypted(raw.getvalue())


def test_the_same_text_looks_different_each_time():
    assert encrypted(b"register")[HEAD_BYTES:] != encrypted(b"register")[HEAD_BYTES:]
