"""Write access to the archive's storage is not enough to insert rows into the database, or text into its SQL."""

import gzip
import hashlib
import json
import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest

from campshub.core.partitions import restore
from campshub.core.partitions.manifests import DamagedArchive
from campshub.core.security.signing import SigningKeys
from tests.core.partitions.conftest import site_of

TABLE = "attendance_records"
KEYS = "k1:" + "A" * 43
OTHER_KEY = b"another key, of thirty-two bytes"
NO_TYPES = {
    "a check of its own": "oid CHECK (lo_create(424242) IS NOT NULL), REPLICA IDENTITY FULL",
    "a default": "oid DEFAULT lo_create(424242)",
    "a collation": 'text COLLATE "C"',
    "two types": "integer, ADD COLUMN other integer",
    "another spelling": "int4",
    "a type that is none": "nothing_of_this_name",
    "no type": "",
    "what cannot be read": "integer(",
    "a size that cannot be": "character varying(0)",
    "a byte that no text has": "text\x00",
}


def sum_of(content):
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def manifest_of(archive):
    (path,) = Path(archive).rglob("manifest.json")
    return path


def forged(archive, **values):
    """Add a forged archive, newer than the existing one, with correct checksums."""
    genuine = manifest_of(archive)
    folder = genuine.parent.with_name("29991231T235959.999999Z-ffffff")
    folder.mkdir()
    manifest = {**json.loads(genuine.read_text()), "id": folder.name, "rows": 0, "key": None, **values}
    plain = (",".join(manifest["columns"]) + "\n").encode()
    stored = gzip.compress(plain)
    (folder / "rows.csv.gz").write_bytes(stored)
    (folder / "manifest.json").write_text(json.dumps({**manifest, "plain": sum_of(plain), "stored": sum_of(stored)}))
    return folder


@contextmanager
def archived(stack, scratch, folder, keys):
    with site_of(stack, scratch, folder, archive_keys=keys) as site:
        site.fill()
        before = site.contents(TABLE)
        site.archived(TABLE)
        yield site, before


def refuses(site, match, **given):
    with pytest.raises(DamagedArchive, match=match):
        site.restored(TABLE, **given)
    assert not site.exists(TABLE)


def test_with_keys_only_signed_archives_are_restored(stack, scratch, tmp_path):
    with archived(stack, scratch, tmp_path, KEYS) as (site, before):
        genuine = manifest_of(tmp_path)
        signature = json.loads(genuine.read_text())["mac"]
        for mac, match in (
            (None, r"is not signed.*flask partitions restore --unsealed"),
            (signature, "no key of ARCHIVE_KEYS has signed it"),
            ("k1." + "A" * 43 + "=", "no key of ARCHIVE_KEYS has signed it"),
            ("k2." + "A" * 43 + "=", "no key of ARCHIVE_KEYS has signed it"),
            ("é", "no key of ARCHIVE_KEYS has signed it"),
        ):
            folder = forged(tmp_path, mac=mac)
            refuses(site, match)
            if mac is not None:  # an archive from before the first key would have none
                refuses(site, match, allow_unsigned=True)
            shutil.rmtree(folder)

        site.restored(TABLE)
        assert site.contents(TABLE) == before


def test_each_value_of_a_manifest_is_part_of_its_signature(stack, scratch, tmp_path):
    with archived(stack, scratch, tmp_path, KEYS) as (site, before):
        path = manifest_of(tmp_path)
        sound = json.loads(path.read_text())
        others = {
            "table": "workout_sets",
            "month": "2020-01-01",
            "id": "29991231T235959.999999Z-ffffff",
            "columns": {**sound["columns"], "more": "integer"},
            "rows": sound["rows"] + 1,
            "plain": {**sound["plain"], "bytes": 1},
            "stored": {**sound["stored"], "bytes": 1},
            "at": "2020-01-01T00:00:00+00:00",
            "revision": "0001",
            "application": "9.9.9",
            "compression": "none",
            "format": 2,
            "key": "k1.AAAA",
            "mac": "k1.AAAA",
        }
        assert set(others) == set(sound)
        for name, value in others.items():
            path.write_text(json.dumps({**sound, name: value}))
            refuses(site, ".")

        path.write_text(json.dumps(sound))
        site.restored(TABLE)
        assert site.contents(TABLE) == before


def test_an_old_archive_cannot_replace_the_newest(stack, scratch, tmp_path):
    with archived(stack, scratch, tmp_path, KEYS) as (site, _):
        old = manifest_of(tmp_path).parent
        shutil.copytree(old, old.with_name("29991231T235959.999999Z-ffffff"))
        refuses(site, "another archive")


def test_an_archive_from_before_the_keys_needs_the_operators_confirmation(stack, scratch, tmp_path):
    with archived(stack, scratch, tmp_path, "") as (_, before):
        pass
    with site_of(stack, scratch, tmp_path, archive_keys=KEYS) as site:
        refuses(site, "made before a key was set")
        run = site.app.test_cli_runner().invoke
        month = ["--month", f"{site.month:%Y-%m}", "--table", TABLE]
        refused = run(args=["partitions", "restore", *month])
        assert (refused.exit_code, refused.stdout) == (1, "")
        assert refused.stderr.splitlines()[-1].endswith("(then: flask partitions restore --unsealed).")

        assert run(args=["partitions", "restore", *month, "--unsealed"]).exit_code == 0
        assert site.contents(TABLE) == before


def test_encrypted_rows_without_a_signature_are_authenticated_by_their_key(stack, scratch, tmp_path):
    with archived(stack, scratch, tmp_path, KEYS) as (site, before):
        path = manifest_of(tmp_path)
        content = {name: value for name, value in json.loads(path.read_text()).items() if name != "mac"}
        path.write_text(json.dumps({**content, "application": "9.9.9"}))
        refuses(site, "is not signed")
        refuses(site, "its manifest was changed", allow_unsigned=True)

        path.write_text(json.dumps(content))
        site.restored(TABLE, allow_unsigned=True)
        assert site.contents(TABLE) == before


def test_an_unsigned_archive_is_no_reason_to_drop_a_month(stack, scratch, tmp_path):
    with archived(stack, scratch, tmp_path, "") as (site, before):
        site.restored(TABLE)
    with site_of(stack, scratch, tmp_path, archive_keys=KEYS) as site:
        assert site.archived(TABLE).mac is not None  # the same rows, exported again
        site.restored(TABLE)
        assert site.contents(TABLE) == before


@pytest.mark.parametrize("text", NO_TYPES.values(), ids=NO_TYPES)
def test_no_text_of_a_manifest_is_run_as_sql(stack, scratch, tmp_path, text):
    with archived(stack, scratch, tmp_path, "") as (site, _):
        columns = json.loads(manifest_of(tmp_path).read_text())["columns"]
        forged(tmp_path, columns={**columns, "x": text})

        refuses(site, "names a (type|column)")
        assert site.sql("SELECT count(*) FROM pg_largeobject_metadata") == [(0,)]


@pytest.mark.parametrize("name", ["tableoid", "", "x\x00", 'x" integer, ADD COLUMN "y'])
def test_an_impossible_column_is_refused(stack, scratch, tmp_path, name):
    with archived(stack, scratch, tmp_path, "") as (site, _):
        columns = json.loads(manifest_of(tmp_path).read_text())["columns"]
        forged(tmp_path, columns={**columns, name: "integer"})

        with pytest.raises((DamagedArchive, restore.IncompatibleRows)):
            site.restored(TABLE)
        assert not site.exists(TABLE)


@pytest.mark.parametrize(
    "text",
    ["numeric(10,2)", "timestamp(3) with time zone", "character varying(20)", "integer[]", "interval second(3)"],
)
def test_every_type_of_postgresql_is_restored(site, text):
    site.sql(f"ALTER TABLE {TABLE} ADD COLUMN extra {text}")
    before = len(site.contents(TABLE))
    site.archived(TABLE)
    site.sql(f"ALTER TABLE {TABLE} DROP COLUMN extra")

    restored = site.restored(TABLE)

    assert (restored.columns, restored.rows) == (["extra"], before)


@pytest.mark.parametrize(
    "values",
    [
        {"columns": ["id"]},
        {"columns": {"id": 1}},
        {"rows": "13"},
        {"rows": True},
        {"plain": {"bytes": "1", "sha256": ""}},
        {"key": 5},
        {"mac": []},
        {"table": 5},
        {"month": 5},
        {"more": 1},
    ],
    ids=repr,
)
def test_a_manifest_of_another_shape_is_damaged(stack, scratch, tmp_path, values):
    with archived(stack, scratch, tmp_path, "") as (site, _):
        path = manifest_of(tmp_path)
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
        refuses(site, "cannot be read")


def test_a_signature_depends_on_its_keys_its_purpose_and_its_content():
    keys = {"k2": OTHER_KEY, "k1": b"\x00" * 32}
    signing = SigningKeys(keys, use="archive manifests")
    older = SigningKeys({"k1": keys["k1"]}, use="archive manifests")
    signature = older.sign(b"content")

    assert signing.verify(signature, b"content")
    assert not signing.verify(signature, b"other content")
    assert not signing.verify(signature.replace("k1.", "k2."), b"content")
    assert not signing.verify(SigningKeys(keys, use="another use").sign(b"content"), b"content")
    assert not older.verify(signing.sign(b"content"), b"content")
