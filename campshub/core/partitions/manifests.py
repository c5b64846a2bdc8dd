"""The manifest of an archive: untrusted input until it is verified.

An attacker who can write to the storage can also write manifests. So the content of a manifest is trusted only after
its signature and its checksums have been verified; reading it checks only the types of the values.
"""

from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any

import orjson

from campshub import __version__
from campshub.core.partitions.locks import MonthsProblem

FORMAT = 1
ROWS = "rows.csv.gz"
_TEXTS = ("table", "id", "revision", "application", "compression")


class DamagedArchive(MonthsProblem):
    """The archive differs from what was written; the database was not changed."""


@dataclass
class Checksum:
    """The length of some bytes, and their SHA-256."""

    bytes: int = 0
    sha256: str = ""


@dataclass(frozen=True)
class Manifest:
    """The description of an archive's content, with checksums and signature."""

    table: str
    month: date
    id: str
    columns: dict[str, str]
    rows: int
    plain: Checksum
    stored: Checksum
    at: datetime
    revision: str
    application: str = __version__
    compression: str = "gzip"
    format: int = FORMAT
    # The key of the encrypted file, encrypted for this manifest only; None: the rows are not encrypted.
    key: str | None = None
    # The signature over all fields above; None: there was no key to sign with.
    mac: str | None = None

    @property
    def folder(self) -> str:
        """The path of the archive below the root."""
        return f"{self.table}/{self.month:%Y-%m}/{self.id}"

    @property
    def file(self) -> str:
        """The path of the rows' file below the root."""
        return f"{self.folder}/{ROWS}{'.sealed' if self.key else ''}"

    def context(self) -> str:
        """Return the context to which the encrypted key is bound: all other fields of the manifest."""
        fields = {**asdict(self), "key": None}
        del fields["mac"]
        return orjson.dumps(fields, option=orjson.OPT_SORT_KEYS).decode()

    def content(self) -> bytes:
        """Return the signed bytes: all fields, including the encrypted key, in a canonical form."""
        return orjson.dumps({**asdict(self), "mac": None}, option=orjson.OPT_SORT_KEYS)

    def write(self) -> bytes:
        """Return the manifest as it is stored."""
        return orjson.dumps({**asdict(self), "month": f"{self.month:%Y-%m-%d}"}, option=orjson.OPT_INDENT_2)


def read_manifest(raw: bytes, path: str) -> Manifest:
    """Parse the manifest at a path.

    :raises DamagedArchive: it is not a manifest, or belongs to another folder.
    """
    try:
        fields = orjson.loads(raw)
        if fields["format"] != FORMAT:
            raise DamagedArchive(f"{path} has the format {fields['format']!r}; this CampsHub reads {FORMAT}.")
        dates = {"month": date.fromisoformat(fields["month"]), "at": datetime.fromisoformat(fields["at"])}
        sums = {name: Checksum(**fields[name]) for name in ("plain", "stored")}
        manifest = Manifest(**{**fields, **dates, **sums})
        _check_types(manifest)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedArchive(f"{path} cannot be read: {error}") from error
    if path.rpartition("/")[0].split("/")[-3:] != [manifest.table, f"{manifest.month:%Y-%m}", manifest.id]:
        # It would describe rows in another folder, or present an old archive as the newest.
        raise DamagedArchive(f"{path} is the manifest of another archive or another month.")
    return manifest


def _check_types(manifest: Manifest) -> None:
    """Check the type of each value.

    :raises TypeError: a value has another type.
    """
    values: dict[str, Any] = vars(manifest)
    texts = [*(values[name] for name in _TEXTS), *manifest.columns, *manifest.columns.values()]
    texts += [one for one in (manifest.key, manifest.mac) if one is not None]
    texts += [manifest.plain.sha256, manifest.stored.sha256]
    numbers = [manifest.rows, manifest.plain.bytes, manifest.stored.bytes]
    if not all(isinstance(one, str) for one in texts) or not all(type(one) is int for one in numbers):
        raise TypeError("a value has the wrong type")
