"""PDF: A4, to be printed."""

from collections.abc import Iterable
from typing import IO, Any

from campshub.reports.document import Document, Row
from campshub.reports.formats import Printed
from campshub.reports.pdf.fonts import Fonts
from campshub.reports.pdf.pages import Pages

MEDIA_TYPE, SUFFIX = "application/pdf", "pdf"
_TOLD = 20


def write(out: IO[bytes], document: Document, rows: Iterable[Row], *, fonts: str = "", **_options: Any) -> Printed:
    """Print a report.

    :param fonts: folders with fonts, before those of the system, with colons between.
    :raises NoFonts: there are none.
    """
    found = Fonts(fonts, document.locale)
    count = 0

    def counted() -> Iterable[Row]:
        nonlocal count
        for row in rows:
            count += 1
            yield row

    Pages(out, document, found).print(counted())
    return Printed(count, _notes(found.missing))


def _notes(missing: set[str]) -> list[str]:
    """Tell which letters no font has; they stand as question marks."""
    if not missing:
        return []
    named = ", ".join(f"U+{ord(letter):04X}" for letter in sorted(missing)[:_TOLD])
    more = f" and {len(missing) - _TOLD} more" if len(missing) > _TOLD else ""
    return [f"No font here has {named}{more}: printed as question marks."]
