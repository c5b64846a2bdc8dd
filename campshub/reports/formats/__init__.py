"""The formats, one file each: ``write(out, document, rows)``, a media type, a suffix."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from campshub.core.errors import Invalid

FORMATS = ("csv", "pdf", "xlsx")


class TooManyRows(Invalid):
    """The report has more rows than a PDF may have; CSV and XLSX take any number."""

    code = "too_many_rows"
    default_detail = "The report has more rows than a PDF may have; CSV and XLSX take any number."

    @classmethod
    def than(cls, most: int) -> "TooManyRows":
        """Return the refusal with the bound."""
        detail = f"A PDF has at most {most:,} rows. Choose fewer dates, or the format csv or xlsx."
        return cls(errors=[cls.at("/format", "too_many_rows", detail).errors[0]])


@dataclass(frozen=True)
class Printed:
    """How many rows were written, and what a reader should know about how."""

    rows: int
    notes: Sequence[str] = field(default_factory=tuple)
