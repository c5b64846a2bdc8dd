"""The formats, one file each, with ``write(out, document, rows)``, a media type and a suffix."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from campshub.core.errors import Invalid

FORMATS = ("csv", "pdf", "xlsx")


class TooManyRows(Invalid):
    """The report has too many rows for a PDF; request CSV or XLSX."""

    code = "too_many_rows"
    default_detail = "The report has too many rows for a PDF; request CSV or XLSX."

    @classmethod
    def than(cls, most: int) -> "TooManyRows":
        """Return the error with the limit in its text."""
        detail = f"A PDF has at most {most:,} rows. Choose fewer dates, or the format csv or xlsx."
        return cls(errors=[cls.at("/format", "too_many_rows", detail).errors[0]])


@dataclass(frozen=True)
class Printed:
    """The number of rows written, and notes for the reader."""

    rows: int
    notes: Sequence[str] = field(default_factory=tuple)
