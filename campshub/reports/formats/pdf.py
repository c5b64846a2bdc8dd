"""PDF: A4, to be printed; tagged (PDF/UA-1) as far as one compilation reaches, set in chunks beyond that."""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any

import orjson

from campshub.reports import charts
from campshub.reports.document import Column, Document, Is, Row
from campshub.reports.formats import Printed, TooManyRows
from campshub.reports.typesetting import process

MEDIA_TYPE, SUFFIX = "application/pdf", "pdf"
MOST_ROWS = 20_000
# Tags take some 100 MiB for a thousand rows, and are lost where files are joined.
TAGGED_ROWS = 2_000
CHUNK_ROWS = 1_000
# A row of shorter texts stands on one page.
_LONG = 600
UNTAGGED = f"More than {TAGGED_ROWS:,} rows: not tagged for screen readers. CSV and XLSX are readable by them."
_PAPER, _SIDES_MM = "a4", (210, 297)
_POINTS_PER_MM = 72 / 25.4
_NAMED = 20


def write(
    out: IO[bytes],
    document: Document,
    rows: Iterable[Row],
    *,
    folder: str,
    fonts: str = "",
    pdf_rows: int = MOST_ROWS,
    **_options: Any,
) -> Printed:
    """Print a report.

    :param folder: where files wait until they are joined.
    :param fonts: folders with fonts, before those of the system, with colons between.
    :raises NoFonts: there are none.
    :raises TooManyRows: it has more rows than ``pdf_rows``.
    :raises TypesettingFailed: the child process ended without a document.
    """
    print_ = _Print(document, Path(folder), fonts)
    iterator = iter(rows)
    first = list(islice(iterator, min(TAGGED_ROWS, pdf_rows) + 1))
    if len(first) <= min(TAGGED_ROWS, pdf_rows):
        file = print_.whole(first)
    else:
        file = print_.in_chunks(_chunks(chain(first, iterator), document.columns, pdf_rows))
    with file.open("rb") as made:
        shutil.copyfileobj(made, out)
    return Printed(print_.count, print_.notes())


def _chunks(rows: Iterator[Row], columns: Sequence[Column], pdf_rows: int) -> list[bytes]:
    """Return all rows, packed, so many in a piece.

    :raises TooManyRows: there are more than ``pdf_rows``.
    """
    packed, count = [], 0
    while chunk := list(islice(rows, CHUNK_ROWS)):
        count += len(chunk)
        if count > pdf_rows:
            raise TooManyRows.than(pdf_rows)
        packed.append(orjson.dumps([_texts(columns, row) for row in chunk]))
    return packed


class _Print:
    """One document on its way to paper."""

    def __init__(self, document: Document, folder: Path, fonts: str) -> None:
        self._document, self._folder, self._fonts = document, folder, fonts
        self._missing: set[str] = set()
        self._is_tagged = True
        self.count = 0

    def whole(self, rows: Sequence[Row]) -> Path:
        """Set all rows at once, with tags."""
        self.count = len(rows)
        return self._render("report", {"rows": [_texts(self._document.columns, row) for row in rows]})

    def in_chunks(self, chunks: Sequence[bytes]) -> Path:
        """Set so many rows at once, count the pages first, and join the files."""
        self._is_tagged = False
        self.count = sum(len(orjson.loads(chunk)) for chunk in chunks)
        pages = [self._child("count_pages", _piece(chunks, n))["pages"] for n in range(len(chunks))]
        files = []
        for n in range(len(chunks)):
            numbers = {"first_page": 1 + sum(pages[:n]), "page_count": sum(pages)}
            files.append(str(self._render(f"chunk-{n}", {**_piece(chunks, n), **numbers})))
        joined = self._folder / "report.pdf"
        process.run({"command": "join", "files": files, "output": str(joined)})
        return joined

    def notes(self) -> list[str]:
        """Return what a reader should know: letters that no font has, tags that are not there."""
        notes = [] if self._is_tagged else [UNTAGGED]
        if self._missing:
            named = ", ".join(f"U+{ord(letter):04X}" for letter in sorted(self._missing)[:_NAMED])
            more = f" and {len(self._missing) - _NAMED} more" if len(self._missing) > _NAMED else ""
            notes.append(f"No font here has {named}{more}: printed as question marks.")
        return notes

    def _render(self, name: str, changes: dict[str, Any]) -> Path:
        path = self._folder / f"{name}.pdf"
        self._missing.update(self._child("render", changes, output=str(path))["missing"])
        return path

    def _child(self, command: str, changes: dict[str, Any], **options: Any) -> dict[str, Any]:
        document = self._document
        changes["has_long_texts"] = any(len(text) > _LONG for row in changes["rows"] for text in row)
        return process.run(
            {
                "command": command,
                "template": document.template,
                "fonts": self._fonts,
                "is_tagged": self._is_tagged,
                "timestamp": int(document.generated_at.timestamp()),
                "document": {**_head(document), "total": self.count, "total_text": f"{self.count:,}", **changes},
                **options,
            }
        )


def _piece(chunks: Sequence[bytes], n: int) -> dict[str, Any]:
    return {"is_first": n == 0, "is_last": n == len(chunks) - 1, "rows": orjson.loads(chunks[n])}


def _head(document: Document) -> dict[str, Any]:
    """Return a document as its template reads it, without rows."""
    width = max(_SIDES_MM) if document.landscape else min(_SIDES_MM)
    room = (width - 2 * document.margin_mm) * _POINTS_PER_MM
    points = room / sum(column.mm for column in document.columns)
    chart = document.chart if document.chart is not None and document.chart.bars else None
    return {
        "name": f"{document.title}, {document.organization}",
        "title": document.title,
        "organization": document.organization,
        "subject": list(document.subject),
        "generated": document.generated,
        "legend": document.legend,
        "locale": document.locale,
        "paper": _PAPER,
        "landscape": document.landscape,
        "margin": document.margin_mm,
        "columns": [
            {
                "title": column.title,
                "points": round(column.mm * points, 2),
                "is_centred": column.centred,
                "is_number": column.holds in {Is.NUMBER, Is.PERCENT},
                # A date and a time fit their columns.
                "is_plain": column.holds in {Is.DATE, Is.TIME},
            }
            for column in document.columns
        ],
        "chart": {"svg": charts.svg(chart), "description": charts.description(chart)} if chart is not None else None,
        "summary": [_texts(document.columns, row) for row in document.summary],
        "is_first": True,
        "is_last": True,
        "first_page": 1,
        "page_count": None,
    }


def _texts(columns: Sequence[Column], row: Row) -> list[str]:
    return [printed(column, value) for column, value in zip(columns, row, strict=True)]


def printed(column: Column, value: Any) -> str:
    """Return a value as it is printed."""
    if value is None or value == "":
        return ""
    if isinstance(value, str):
        return " ".join(value.split())
    return f"{value * 100:.1f}" if column.holds is Is.PERCENT else f"{value:,.10g}"
