"""An archive that does not match what was written is refused before anything is dropped or attached."""

import json
import random
from pathlib import Path

import pytest

from campshub.core.partitions import archive, store
from campshub.core.security.crypto import DecryptionFailed
from campshub.core.security.stream_encryption import (
    CHUNK_BYTES,
    CHUNK_OVERHEAD_BYTES,
    FileIdentity,
    decrypt_blocks,
    encrypt_blocks,
    new_stream_key,
)
from tests.core.partitions.conftest import site_of

TABLE = "attendance_records"
KEYS = "k1:" + "A" * 43
ENCRYPTED_CHUNK = CHUNK_BYTES + CHUNK_OVERHEAD_BYTES


def flipped(stored: Path) -> None:
    content = bytearray(stored.read_bytes())
    content[len(content) // 2] ^= 1
    stored.write_bytes(content)


def cut(stored: Path) -> None:
    stored.write_bytes(stored.read_bytes()[:-1])


def extended(stored: Path) -> None:
    stored.write_bytes(stored.read_bytes() + b"\x00")


def with_value(name: str, value: object):
    def change(stored: Path) -> None:
        manifest = stored.with_name("manifest.json")
        content = json.loads(manifest.read_text())
        manifest.write_text(json.dumps({**content, name: value}))

    return change


DAMAGES = {
    "a flipped bit": flipped,
    "an end that is missing": cut,
    "an end that is too long": extended,
    "no rows": Path.unlink,
    "another number of rows": with_value("rows", 13),
    "another checksum": with_value("plain", {"bytes": 1, "sha256": "0" * 64}),
    "another format": with_value("format", 2),
    "another month": with_value("month", "2020-01-01"),
    "no manifest": lambda stored: stored.with_name("manifest.json").write_text("{"),
}


@pytest.mark.parametrize("keys", ["", KEYS], ids=["plain", "sealed"])
def test_a_damaged_archive_is_not_restored(stack, scratch, tmp_path, keys):
    with site_of(stack, scratch, tmp_path, archive_keys=keys) as site:
        site.fill()
        before = site.contents(TABLE)
        site.archived(TABLE)
        (stored,) = (path for path in tmp_path.rglob("rows*"))
        manifest = stored.with_name("manifest.json")
        sound = stored.read_bytes(), manifest.read_bytes()
        for damage in DAMAGES.values():
            damage(stored)
            with pytest.raises(store.DamagedArchive):
                site.restored(TABLE)
            assert not site.exists(TABLE)
            stored.write_bytes(sound[0])
            manifest.write_bytes(sound[1])

        site.restored(TABLE)
        assert site.contents(TABLE) == before


def test_no_value_of_a_manifest_of_encrypted_rows_can_be_changed(stack, scratch, tmp_path):
    with site_of(stack, scratch, tmp_path, archive_keys=KEYS) as site:
        site.fill()
        site.archived(TABLE)
        (stored,) = tmp_path.rglob("rows*")
        with_value("application", "9.9.9")(stored)

        with pytest.raises(store.DamagedArchive, match="its manifest was changed"):
            site.restored(TABLE)


def test_an_archive_that_fails_verification_drops_nothing_and_is_exported_again(site):
    before = site.contents(TABLE)

    def on_stage(stage):
        if stage == archive.EXPORTED:
            (stored,) = Path(site.archive).rglob("rows*")
            flipped(stored)

    with pytest.raises(store.DamagedArchive):
        site.archived(TABLE, on_stage)
    assert site.sql(f"SELECT count(*) FROM {site.name(TABLE)}") == [(len(before),)]

    site.archived(TABLE)
    site.restored(TABLE)
    assert site.contents(TABLE) == before


def test_a_truncated_reordered_extended_or_mixed_stream_does_not_decrypt():
    keys, plain = {"own": new_stream_key()}, random.Random(1).randbytes(3 * CHUNK_BYTES + 5)
    identity = FileIdentity(None, "archive", "attendance_records/2026-01/1")
    stored = b"".join(encrypt_blocks([plain], keys, identity))
    head_bytes = len(stored) - len(plain) - 4 * CHUNK_OVERHEAD_BYTES
    head, body = stored[:head_bytes], stored[head_bytes:]
    first, second, third, last = (body[n : n + ENCRYPTED_CHUNK] for n in range(0, len(body), ENCRYPTED_CHUNK))
    wrong = {
        "cut within a chunk": stored[:-1],
        "cut between chunks": b"".join((head, first, second, third)),
        "its last chunk alone": head + last,
        "nothing": b"",
        "reordered": b"".join((head, second, first, third, last)),
        "a chunk twice": b"".join((head, first, first, second, third, last)),
        "a chunk left out": b"".join((head, first, third, last)),
        "extended": stored + last,
        "a bit flipped": head + bytes([body[0] ^ 1]) + body[1:],
        "a bit of the head flipped": head[:-1] + bytes([head[-1] ^ 1]) + body,
    }
    for changed in wrong.values():
        with pytest.raises(DecryptionFailed):
            list(decrypt_blocks([changed], keys, identity))
    with pytest.raises(DecryptionFailed):
        list(decrypt_blocks([stored], {"own": new_stream_key()}, identity))
    with pytest.raises(DecryptionFailed):
        list(decrypt_blocks([stored], keys, FileIdentity(None, "archive", "attendance_records/2026-02/1")))
