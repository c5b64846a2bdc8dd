"""The formats, one file each: ``write(out, document, rows)``, a media type, a suffix."""

from collections.abc import Sequence
from dataclasses import dataclass, field

FORMATS = ("csv", "pdf", "xlsx")


@dataclass(frozen=True)
class Printed:
    """How many rows were written, and what a reader should know about how."""

    rows: int
    notes: Sequence[str] = field(default_factory=tuple)
