"""XLSX: written row by row in constant memory. Texts are stored as texts, dates as dates; nothing is a formula."""

from collections.abc import Iterable
from datetime import date, time
from typing import IO, Any

import xlsxwriter

from campshub.core.charts import BarChart
from campshub.reports.document import Column, Document, Is, Row
from campshub.reports.formats import Printed
from campshub.reports.formats.csv import harmless

MEDIA_TYPE, SUFFIX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "xlsx"
MOST_ROWS = 1_048_576  # of a sheet
MOST_CHARACTERS = 32_767  # of a cell
_FORMATS = {
    Is.TEXT: {},
    Is.NUMBER: {"num_format": "#,##0.###"},
    Is.PERCENT: {"num_format": "0.0%"},
    Is.DATE: {"num_format": "yyyy-mm-dd"},
    Is.TIME: {"num_format": "hh:mm"},
}
# Converts a column's millimetres in the PDF to Excel's unit, the width of a character.
_CHARACTERS_PER_MM = 0.55


def write(
    out: IO[bytes], document: Document, rows: Iterable[Row], *, folder: str = "", most_rows: int = MOST_ROWS, **_: Any
) -> Printed:
    """Write a report: its head, frozen column titles and rows; begin another sheet when one is full.

    :param folder: for temporary files, whose rows are not encrypted.
    """
    book = xlsxwriter.Workbook(out, {"constant_memory": True, "tmpdir": folder or None})
    book.set_properties({"title": document.title, "company": document.organization})
    sheets = _Sheets(book, document)
    count = 0
    for row in rows:
        if sheets.next_row >= most_rows:
            sheets.begin()
        sheets.write(row)
        count += 1
    sheets.close()
    if document.chart is not None and document.chart.bars:
        _chart(book, document.chart)
    book.close()
    return Printed(count)


class _Sheets:
    """The sheets of a book, each with the head and titles of the report."""

    def __init__(self, book: xlsxwriter.Workbook, document: Document) -> None:
        self._book, self._document = book, document
        self._formats = {holds: book.add_format(properties) for holds, properties in _FORMATS.items()}
        # Marks the cell as text, so that it stays text when someone edits it.
        self._quoted = book.add_format({"quote_prefix": True})
        self._bold = book.add_format({"bold": True})
        self._titles = book.add_format(
            {"bold": True, "bg_color": "#E6E6E6", "bottom": 1, "text_wrap": True, "valign": "top"}
        )
        self._count = 0
        self._sheet: Any = None
        self._first_row = 0
        self.next_row = 0
        self.begin()

    def begin(self) -> None:
        """Begin a sheet."""
        if self._count:
            self.close()
        self._count += 1
        document = self._document
        self._sheet = self._book.add_worksheet("Report" if self._count == 1 else f"Report {self._count}")
        for index, column in enumerate(document.columns):
            width = max(len(max(column.title.split("\n"), key=len)) + 2, column.mm * _CHARACTERS_PER_MM)
            self._sheet.set_column(index, index, width)
        head = (document.title, document.organization, *document.subject, document.generated, "")
        for row, line in enumerate(head):
            self._text(row, 0, line, self._bold if row == 0 else None)
        self._first_row = len(head)
        for index, column in enumerate(document.columns):
            self._sheet.write_string(self._first_row, index, column.title, self._titles)
        self.next_row = self._first_row + 1
        self._sheet.freeze_panes(self.next_row, 0)
        if document.landscape:
            self._sheet.set_landscape()
        self._sheet.set_paper(9)
        self._sheet.repeat_rows(self._first_row)
        self._sheet.fit_to_pages(1, 0)

    def write(self, row: Row) -> None:
        """Write a row."""
        for index, (column, value) in enumerate(zip(self._document.columns, row, strict=True)):
            if value is not None and value != "":
                self._value(index, column, value)
        self.next_row += 1

    def close(self) -> None:
        """Add filters to the titles of the current sheet."""
        if self.next_row > self._first_row + 1:
            self._sheet.autofilter(self._first_row, 0, self.next_row - 1, len(self._document.columns) - 1)

    def _value(self, index: int, column: Column, value: Any) -> None:
        at, as_ = self.next_row, self._formats[column.holds]
        if isinstance(value, int | float):
            self._sheet.write_number(at, index, value, as_)
        elif column.holds is Is.DATE:
            self._sheet.write_datetime(at, index, date.fromisoformat(value), as_)
        elif column.holds is Is.TIME:
            self._sheet.write_datetime(at, index, time.fromisoformat(value), as_)
        else:
            self._text(at, index, str(value))

    def _text(self, row: int, index: int, text: str, as_: Any = None) -> None:
        quoted = self._quoted if harmless(text) != text else None
        self._sheet.write_string(row, index, text[:MOST_CHARACTERS], as_ or quoted)


def _chart(book: Any, chart: BarChart) -> None:
    """Draw the chart on a separate sheet, next to its values."""
    sheet = book.add_worksheet("Chart")
    sheet.set_column(0, 0, 16)
    for row, (label, value) in enumerate(chart.bars):
        sheet.write_string(row, 0, label)
        sheet.write_number(row, 1, value)
    drawn = book.add_chart({"type": "column"})
    last = len(chart.bars) - 1
    drawn.add_series({"categories": ["Chart", 0, 0, last, 0], "values": ["Chart", 0, 1, last, 1], "gap": 60})
    drawn.set_title({"name": chart.title, "overlay": False})
    drawn.set_legend({"none": True})
    drawn.set_size({"width": 720, "height": 360})
    sheet.insert_chart("D2", drawn)
