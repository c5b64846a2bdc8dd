"""PDF: A4. Tagged (PDF/UA-1) if one compilation can hold all rows; longer reports are compiled in chunks, untagged."""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any

import orjson

from campshub.core import charts
from campshub.core.typesetting import process
from campshub.reports.document import Column, Document, Is, Row
from campshub.reports.formats import Printed, TooManyRows

TEMPLATES = Path(__file__).parents[1] / "templates"
MEDIA_TYPE, SUFFIX = "application/pdf", "pdf"
MOST_ROWS = 20_000
# Tags take about 100 MiB per thousand rows, and are lost when files are joined.
TAGGED_ROWS = 2_000
CHUNK_ROWS = 1_000
# A row with shorter texts fits on one page.
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
    """Write a report as PDF.

    :param folder: for temporary files.
    :param fonts: folders with fonts, separated by colons; they precede the system's.
    :raises NoFonts: no font was found.
    :raises TooManyRows: there are more rows than ``pdf_rows``.
    :raises TypesettingFailed: the child process ended without a document.
    """
    renderer = _Renderer(document, Path(folder), fonts)
    iterator = iter(rows)
    first = list(islice(iterator, min(TAGGED_ROWS, pdf_rows) + 1))
    if len(first) <= min(TAGGED_ROWS, pdf_rows):
        file = renderer.whole(first)
    else:
        file = renderer.in_chunks(_chunks(chain(first, iterator), document.columns, pdf_rows))
    with file.open("rb") as made:
        shutil.copyfileobj(made, out)
    return Printed(renderer.count, renderer.notes())


def _chunks(rows: Iterator[Row], columns: Sequence[Column], pdf_rows: int) -> list[bytes]:
    """Return all rows as JSON, in chunks of ``CHUNK_ROWS``.

    :raises TooManyRows: there are more than ``pdf_rows``.
    """
    chunks, count = [], 0
    while chunk := list(islice(rows, CHUNK_ROWS)):
        count += len(chunk)
        if count > pdf_rows:
            raise TooManyRows.than(pdf_rows)
        chunks.append(orjson.dumps([_texts(columns, row) for row in chunk]))
    return chunks


class _Renderer:
    """Render one document, and collect its notes."""

    def __init__(self, document: Document, folder: Path, fonts: str) -> None:
        self._document, self._folder, self._fonts = document, folder, fonts
        self._missing: set[str] = set()
        self._is_tagged = True
        self.count = 0

    def whole(self, rows: Sequence[Row]) -> Path:
        """Render all rows in one compilation, with tags."""
        self.count = len(rows)
        return self._render("report", {"rows": [_texts(self._document.columns, row) for row in rows]})

    def in_chunks(self, chunks: Sequence[bytes]) -> Path:
        """Count the pages of all chunks, render each chunk, and join the files."""
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
        """Return notes for the reader: missing tags, and characters that no font has."""
        notes = [] if self._is_tagged else [UNTAGGED]
        if self._missing:
            named = ", ".join(f"U+{ord(character):04X}" for character in sorted(self._missing)[:_NAMED])
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
                "templates": str(TEMPLATES),
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
    """Return the template's input for a document, without rows."""
    width = max(_SIDES_MM) if document.landscape else min(_SIDES_MM)
    usable = (width - 2 * document.margin_mm) * _POINTS_PER_MM
    points = usable / sum(column.mm for column in document.columns)
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
                # Dates and times always fit their columns.
                "is_plain": column.holds in {Is.DATE, Is.TIME},
            }
            for column in document.columns
        ],
        "chart": {"svg": charts.as_svg(chart), "description": chart.description} if chart is not None else None,
        "summary": [_texts(document.columns, row) for row in document.summary],
        "is_first": True,
        "is_last": True,
        "first_page": 1,
        "page_count": None,
    }


def _texts(columns: Sequence[Column], row: Row) -> list[str]:
    return [printed(column, value) for column, value in zip(columns, row, strict=True)]


def printed(column: Column, value: Any) -> str:
    """Return a value as printed text."""
    if value is None or value == "":
        return ""
    if isinstance(value, str):
        return " ".join(value.split())
    return f"{value * 100:.1f}" if column.holds is Is.PERCENT else f"{value:,.10g}"
