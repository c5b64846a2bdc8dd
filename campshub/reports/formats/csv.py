"""CSV: RFC 4180, in UTF-8 with a byte order mark, without which spreadsheets misread non-ASCII names.

A text that a spreadsheet would run as a formula gets an apostrophe before it, as OWASP advises. So does a telephone
number (``+91 ...``), which keeps all its digits. Numbers and dates are not changed.
"""

import csv
import io
import re
from collections.abc import Iterable
from typing import IO, Any

from campshub.reports.document import Column, Document, Is, Row
from campshub.reports.formats import Printed

MEDIA_TYPE, SUFFIX = "text/csv; charset=utf-8", "csv"
# The last four are full-width forms, which spreadsheets treat like the first four.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")

# A formula sign after a character that some spreadsheets take for the end of a cell or a line.
_CELL_WITHIN = re.compile('([;|\t\r\n]["\\s]*)(?=[=+\\-@\uff1d\uff0b\uff0d\uff20])')


def write(out: IO[bytes], document: Document, rows: Iterable[Row], **_options: Any) -> Printed:
    """Write a report: one line of titles, then the rows."""
    text = io.TextIOWrapper(out, encoding="utf-8-sig", newline="", write_through=False)
    writer = csv.writer(text)
    writer.writerow([harmless(column.title.replace("\n", " ")) for column in document.columns])
    count = 0
    for row in rows:
        writer.writerow([_cell(*one) for one in zip(document.columns, row, strict=True)])
        count += 1
    text.flush()
    text.detach()
    return Printed(count)


def harmless(text: str) -> str:
    """Escape a text so that no spreadsheet takes it for a formula, even after leading blanks.

    In locales with semicolons as list separators, spreadsheets begin a new cell at each semicolon and ignore a quote
    that was opened before it.
    """
    text = _CELL_WITHIN.sub(r"\1'", text)
    return f"'{text}" if text.startswith(_FORMULA_STARTS) or text.lstrip().startswith(_FORMULA_STARTS) else text


def _cell(column: Column, value: Any) -> Any:
    if value is None:
        return ""
    if column.holds is Is.PERCENT:
        return f"{value * 100:.1f}"
    return value if isinstance(value, int | float) else harmless(str(value))
