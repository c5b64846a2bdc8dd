"""CSV: RFC 4180, in UTF-8 with the mark at its beginning without which spreadsheets read names wrongly.

A text that a spreadsheet would run as a formula gets an apostrophe before it, as OWASP advises; a telephone number
(``+91 ...``) keeps all its digits behind it. Numbers and dates are what they are.
"""

import csv
import io
import re
from collections.abc import Iterable
from typing import IO, Any

from campshub.reports.document import Column, Document, Is, Row
from campshub.reports.formats import Printed

MEDIA_TYPE, SUFFIX = "text/csv; charset=utf-8", "csv"
# The last four are the wide forms, which spreadsheets take for the same.
_PERILOUS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")

# A sign after what other spreadsheets take for the end of a cell or of a line.
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
    """Return a text that no spreadsheet takes for a formula; blanks before the sign do not hide it.

    Where lists are separated by semicolons, spreadsheets begin a new cell at each, and go by no quote that begins
    further to the left.
    """
    text = _CELL_WITHIN.sub(r"\1'", text)
    return f"'{text}" if text.startswith(_PERILOUS) or text.lstrip().startswith(_PERILOUS) else text


def _cell(column: Column, value: Any) -> Any:
    if value is None:
        return ""
    if column.holds is Is.PERCENT:
        return f"{value * 100:.1f}"
    return value if isinstance(value, int | float) else harmless(str(value))
