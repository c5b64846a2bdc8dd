"""What an archive says of itself: a manifest, read with nothing taken for granted.

Whoever can write to the storage can write manifests as well, so none is believed for what it says before its signature
and its sums are; until then it has the right shape, and no more.
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


class Damaged(MonthsProblem):
    """The archive is not what was written; nothing has been changed."""


@dataclass
class Sum:
    """How long something is, and its SHA-256."""

    bytes: int = 0
    sha256: str = ""


@dataclass(frozen=True)
class Manifest:
    """What an archive holds, and what proves that it still does."""

    table: str
    month: date
    id: str
    columns: dict[str, str]
    rows: int
    plain: Sum
    stored: Sum
    at: datetime
    revision: str
    application: str = __version__
    compression: str = "gzip"
    format: int = FORMAT
    # The stream's own key, sealed for this manifest and no other; None: the rows are not sealed.
    key: str | None = None
    # The signature over all of the above; None: there was no key to sign with.
    mac: str | None = None

    @property
    def folder(self) -> str:
        """Its place below the root."""
        return f"{self.table}/{self.month:%Y-%m}/{self.id}"

    @property
    def file(self) -> str:
        """The rows' place below the root."""
        return f"{self.folder}/{ROWS}{'.sealed' if self.key else ''}"

    def context(self) -> str:
        """Return what the key is sealed for: all that the manifest says."""
        told = {**asdict(self), "key": None}
        del told["mac"]
        return orjson.dumps(told, option=orjson.OPT_SORT_KEYS).decode()

    def content(self) -> bytes:
        """Return what is signed: all that the manifest says, the sealed key too, written in one way."""
        return orjson.dumps({**asdict(self), "mac": None}, option=orjson.OPT_SORT_KEYS)

    def write(self) -> bytes:
        """Return the manifest as it is stored."""
        return orjson.dumps({**asdict(self), "month": f"{self.month:%Y-%m-%d}"}, option=orjson.OPT_INDENT_2)


def read_manifest(raw: bytes, path: str) -> Manifest:
    """Read a manifest that lies at a path.

    :raises Damaged: it is none, or another folder's.
    """
    try:
        told = orjson.loads(raw)
        if told["format"] != FORMAT:
            raise Damaged(f"{path} is of format {told['format']!r}; this CampsHub reads {FORMAT}.")
        dates = {"month": date.fromisoformat(told["month"]), "at": datetime.fromisoformat(told["at"])}
        sums = {name: Sum(**told[name]) for name in ("plain", "stored")}
        manifest = Manifest(**{**told, **dates, **sums})
        _see_shape(manifest)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Damaged(f"{path} cannot be read: {error}") from error
    if path.rpartition("/")[0].split("/")[-3:] != [manifest.table, f"{manifest.month:%Y-%m}", manifest.id]:
        # It would speak of rows that lie elsewhere, or pass an old archive off as the newest.
        raise Damaged(f"{path} is the manifest of another archive or another month.")
    return manifest


def _see_shape(manifest: Manifest) -> None:
    """See that each value is of its type.

    :raises TypeError: one is not.
    """
    values: dict[str, Any] = vars(manifest)
    texts = [*(values[name] for name in _TEXTS), *manifest.columns, *manifest.columns.values()]
    texts += [one for one in (manifest.key, manifest.mac) if one is not None]
    texts += [manifest.plain.sha256, manifest.stored.sha256]
    numbers = [manifest.rows, manifest.plain.bytes, manifest.stored.bytes]
    if not all(isinstance(one, str) for one in texts) or not all(type(one) is int for one in numbers):
        raise TypeError("a value is of another type")
