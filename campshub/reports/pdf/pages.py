"""The pages of a report: its head, the table with its head on each page, the chart, and the line at the foot."""

import math
from collections.abc import Iterable
from typing import IO, Any

from campshub.reports.document import Chart, Column, Document, Is, Row
from campshub.reports.pdf.file import PdfFile
from campshub.reports.pdf.fonts import Fonts
from campshub.reports.pdf.setting import Line, Setter, number

POINTS_PER_MM = 72 / 25.4
A4 = (595.28, 841.89)
MARGIN = 34.0
TITLE, SUBTITLE, BODY, SMALL = 15.0, 9.0, 8.0, 7.0
LEADING = 1.38
PADDING = 2.5
CHART_HEIGHT = 190.0
TOTAL_PAGES = "Total"
_GREY, _RULE, _SHADE, _HEAD, _BAR, _INK = b"0.35", b"0.78", b"0.965", b"0.90", b"0.18 0.38 0.62", b"0.1"


class Pages:
    """Puts a document on paper."""

    def __init__(self, out: IO[bytes], document: Document, fonts: Fonts) -> None:
        """Begin the first page."""
        self._document, self._fonts = document, fonts
        self._file, self._set = PdfFile(out), Setter(fonts)
        self._width, self._height = A4[::-1] if document.landscape else A4
        self._widths = _shared(document.columns, self._width - 2 * MARGIN)
        self._total = self._file.reserve()
        self._words: list[bytes] = []
        self._y = self._table_top = 0.0
        self._is_striped = False

    def print(self, rows: Iterable[Row]) -> int:
        """Print the rows; return how many pages there are."""
        self._head_of_document()
        if self._document.chart is not None and self._document.chart.bars:
            self._chart(self._document.chart)
        self._head_of_table()
        is_empty = True
        for row in rows:
            self._row(row)
            is_empty = False
        self._grid()
        if is_empty:
            self._text("Nothing to show for these dates.", MARGIN + PADDING, self._y - 16, SUBTITLE, colour=_GREY)
            self._y -= 24
        self._legend()
        self._end_page()
        return self._finish()

    def _head_of_document(self) -> None:
        document = self._document
        self._y = self._height - MARGIN
        room = self._width - 2 * MARGIN
        self._y -= TITLE
        made = self._set.fitted(document.generated, SMALL, room / 3)
        self._show(made, self._width - MARGIN - made.width, self._y, _GREY)
        self._text(document.title, MARGIN, self._y, TITLE, room=room * 2 / 3 - 10, bold=True)
        self._y -= SUBTITLE * 1.7
        self._text(document.organization, MARGIN, self._y, SUBTITLE + 1, room=room, bold=True)
        for line in document.subject:
            self._y -= SUBTITLE * LEADING
            self._text(line, MARGIN, self._y, SUBTITLE, room=room, colour=_GREY)
        self._y -= SUBTITLE

    def _head_of_table(self) -> None:
        """Draw the titles of the columns, in one or more lines, on a tinted ground."""
        titles = [column.title.split("\n") for column in self._document.columns]
        height = max(len(lines) for lines in titles) * SMALL * LEADING + 2 * PADDING
        self._table_top = self._y
        self._box(MARGIN, self._y - height, self._width - 2 * MARGIN, height, _HEAD)
        left = MARGIN
        for column, lines, width in zip(self._document.columns, titles, self._widths, strict=True):
            baseline = self._y - PADDING - SMALL
            for text in lines:
                set_ = self._set.fitted(text, SMALL, width - 2 * _side(column), bold=True)
                self._show(set_, left + _indent(column, set_, width), baseline, _INK)
                baseline -= SMALL * LEADING
            left += width
        self._y -= height
        self._rule(self._y)
        self._is_striped = False

    def _row(self, row: Row) -> None:
        cells = [self._cell(*one) for one in zip(self._document.columns, row, self._widths, strict=True)]
        height = max(1, *(len(lines) for lines in cells)) * BODY * LEADING + PADDING
        if self._y - height < MARGIN + 2 * SMALL:
            self._grid()
            self._end_page()
            self._y = self._height - MARGIN
            self._head_of_table()
        if self._is_striped:
            self._box(MARGIN, self._y - height, self._width - 2 * MARGIN, height - 0.2, _SHADE)
        self._is_striped = not self._is_striped
        left = MARGIN
        for column, lines, width in zip(self._document.columns, cells, self._widths, strict=True):
            baseline = self._y - PADDING / 2 - BODY
            for line in lines:
                self._show(line, left + _indent(column, line, width), baseline, _INK)
                baseline -= BODY * LEADING
            left += width
        self._y -= height
        self._rule(self._y)

    def _grid(self) -> None:
        """Draw lines between narrow columns, so that the eye keeps to one."""
        left = MARGIN
        for column, width in zip(self._document.columns, self._widths, strict=True):
            if column.centred:
                ends = (number(left), number(self._y), number(left), number(self._table_top))
                self._words.append(b"%s G 0.4 w %s %s m %s %s l S" % (_RULE, *ends))
            left += width

    def _cell(self, column: Column, value: Any, width: float) -> list[Line]:
        text = printed(column, value)
        if not text:
            return []
        room = width - 2 * _side(column)
        if column.most_lines == 1:
            return [self._set.fitted(text, BODY, room)]
        return self._set.wrapped(text, BODY, room, most=column.most_lines)

    def _chart(self, chart: Chart) -> None:
        """Draw bars, with a scale that ends in a round number."""
        left, right = MARGIN + 34, self._width - MARGIN
        top, bottom = self._y - 20, self._y - CHART_HEIGHT + 22
        self._text(chart.title, MARGIN, self._y - 8, SUBTITLE, bold=True, room=right - MARGIN)
        highest = _round_above(max((value for _, value in chart.bars), default=0))
        for step in range(5):
            y = bottom + (top - bottom) * step / 4
            self._rule(y, left, right)
            scale = self._set.line(f"{highest * step / 4:g}{chart.unit}", SMALL)
            self._show(scale, left - 4 - scale.width, y - SMALL / 3, _GREY)
        room = (right - left) / len(chart.bars)
        every = math.ceil(34 / room)  # a label needs so many points
        for index, (label, value) in enumerate(chart.bars):
            height = (top - bottom) * value / highest
            x = left + index * room
            self._box(x + room * 0.16, bottom, room * 0.68, height, _BAR)
            if index % every == 0:
                set_ = self._set.fitted(label, SMALL, room * every)
                self._show(set_, x + (room - set_.width) / 2, bottom - SMALL * 1.5, _GREY)
        self._y -= CHART_HEIGHT + 4

    def _legend(self) -> None:
        if not self._document.legend:
            return
        if self._y - 3 * SMALL < MARGIN + 2 * SMALL:
            self._end_page()
            self._y = self._height - MARGIN
        self._y -= 2 * SMALL
        self._text(self._document.legend, MARGIN, self._y, SMALL, room=self._width - 2 * MARGIN, colour=_GREY)

    def _end_page(self) -> None:
        """Write the line at the foot; how many pages there are is known, and written, at the end alone."""
        y = MARGIN - SMALL * 1.6
        count = self._set.line(f"Page {self._file.page_count + 1} of ", SMALL)
        right = self._width - MARGIN - 28
        self._show(count, right - count.width, y, _GREY)
        self._words.append(b"q 1 0 0 1 %s %s cm /%s Do Q" % (number(right), number(y), TOTAL_PAGES.encode()))
        name = f"{self._document.organization} · {self._document.title}"
        self._text(name, MARGIN, y, SMALL, room=self._width / 2, colour=_GREY)
        self._file.page(b"\n".join(self._words), self._width, self._height)
        self._words.clear()

    def _finish(self) -> int:
        total = self._set.line(str(self._file.page_count), SMALL)
        words = b"/Type/XObject/Subtype/Form/BBox[0 -3 60 12]/Resources %d 0 R" % self._file.resources
        self._file.stream(b"BT %s g %s ET" % (_GREY, total.words), words, self._total)
        made = f"D:{self._document.generated_at:%Y%m%d%H%M%S}"
        title = f"{self._document.title}, {self._document.organization}"
        self._file.finish(self._fonts.opened, {TOTAL_PAGES: self._total}, title, made)
        return self._file.page_count

    def _text(
        self,
        text: str,
        x: float,
        y: float,
        size: float,
        *,
        room: float = 1e6,
        bold: bool = False,
        colour: bytes = _INK,
    ) -> None:
        self._show(self._set.fitted(text, size, room, bold=bold), x, y, colour)

    def _show(self, line: Line, x: float, y: float, colour: bytes) -> None:
        self._words.append(b"BT %s g %s %s Td %s ET" % (colour, number(x), number(y), line.words))

    def _box(self, x: float, y: float, width: float, height: float, colour: bytes) -> None:
        operator = b"rg" if b" " in colour else b"g"
        place = b" ".join(number(one) for one in (x, y, width, height))
        self._words.append(b"%s %s %s re f" % (colour, operator, place))

    def _rule(self, y: float, left: float = MARGIN, right: float = 0) -> None:
        ends = (number(left), number(y), number(right or self._width - MARGIN), number(y))
        self._words.append(b"%s G 0.4 w %s %s m %s %s l S" % (_RULE, *ends))


def printed(column: Column, value: Any) -> str:
    """Return a value as it stands on paper."""
    if value is None or value == "":
        return ""
    if column.holds is Is.PERCENT:
        return f"{value * 100:.1f}"
    if column.holds is Is.NUMBER:
        return f"{value:,.10g}"
    return str(value)


def _shared(columns: Iterable[Column], room: float) -> list[float]:
    """Share a page's width among the columns, in proportion to what each asks for."""
    asked = [column.mm * POINTS_PER_MM for column in columns]
    return [width * room / sum(asked) for width in asked]


def _side(column: Column) -> float:
    return 0.5 if column.centred else PADDING


def _indent(column: Column, line: Line, width: float) -> float:
    if column.centred:
        return (width - line.width) / 2
    if column.holds in {Is.NUMBER, Is.PERCENT}:
        return width - PADDING - line.width
    return PADDING


def _round_above(value: float) -> float:
    """Return a number not below a value of which a quarter is easily read."""
    if value <= 0:
        return 4.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(power * times for times in (1, 2, 4, 8, 10) if power * times >= value)
