"""The formats: no text becomes a formula, and numbers and dates are typed."""

import csv as plain_csv
import io
from datetime import UTC, date, datetime, time

import openpyxl
import pytest

from campshub.core.charts import BarChart
from campshub.reports.document import Column, Document, Is
from campshub.reports.formats import csv, xlsx

COLUMNS = (
    Column("Member"),
    Column("Phone"),
    Column("Born", Is.DATE),
    Column("In", Is.TIME),
    Column("Marks", Is.NUMBER),
    Column("%", Is.PERCENT),
)
AT = datetime(2026, 11, 18, 6, 30, tzinfo=UTC)
HEAD = Document("Roster", "Hill Camp", COLUMNS, AT, ("Class 7B", "2026-11-18"))
PERILS = [
    "=1+1",
    '=HYPERLINK("http://x","y")',
    "+1+1",
    "-1+1",
    "@SUM(A1)",
    "\t=1+1",
    "\r=1+1",
    "\n=1+1",
    " =1+1",
    "\uff1d1+1",
]


def row(name="Asha Rao", phone="+91 98765 43210"):
    return [name, phone, "2012-05-06", "09:05", -3, 0.905]


def as_csv(*rows):
    out = io.BytesIO()
    assert csv.write(out, HEAD, rows).rows == len(rows)
    return out.getvalue()


def as_xlsx(*rows, document=HEAD, **options):
    out = io.BytesIO()
    assert xlsx.write(out, document, rows, **options).rows == len(rows)
    return openpyxl.load_workbook(io.BytesIO(out.getvalue()))


def test_a_csv_file_begins_with_a_byte_order_mark_and_ends_lines_with_crlf():
    stored = as_csv(row("Größe, „x“"), row('a "quoted"\nname'))

    assert stored.startswith("\ufeffMember,Phone".encode())
    assert stored.count(b"\r\n") == 3
    cells = list(plain_csv.reader(io.StringIO(stored.decode("utf-8-sig"), newline="")))
    assert cells[1] == ["Größe, „x“", "'+91 98765 43210", "2012-05-06", "09:05", "-3", "90.5"]
    assert cells[2][0] == 'a "quoted"\nname'


@pytest.mark.parametrize("peril", PERILS)
def test_nothing_becomes_a_formula(peril):
    cells = list(plain_csv.reader(io.StringIO(as_csv(row(peril)).decode("utf-8-sig"), newline="")))
    sheet = as_xlsx(row(peril)).active

    within = peril[0] in "\t\r\n"  # where another spreadsheet may begin a new cell
    assert cells[1][0] == (f"'{peril[0]}'{peril[1:]}" if within else f"'{peril}")
    cell = sheet.cell(sheet.max_row, 1)
    value = cell.value.replace("_x000D_", "\r")  # as the format writes it
    assert (cell.data_type, value.strip(), cell.quotePrefix) == ("s", peril.strip(), True)


@pytest.mark.parametrize("separator", [";", "\t", "|"])
@pytest.mark.parametrize("peril", ["x;=1+1;y", "x;  =1+1", "x\t@SUM(A1)", "x|-1+1", "x\n=1+1", ';"=1+1'])
def test_nothing_becomes_a_formula_with_other_separators(separator, peril):
    lines = as_csv(row(peril)).decode("utf-8-sig").splitlines()
    parts = [cell.strip(' "') for line in lines for cell in line.split(separator)]

    assert [cell for cell in parts if cell.startswith(("=", "+", "-", "@"))] == []


def test_a_sheet_has_typed_dates_and_numbers_below_frozen_titles():
    book = as_xlsx(row(), row("राजेश कुमार"))
    sheet = book.active

    titles = next(r for r in sheet.iter_rows() if r[0].value == "Member")
    assert sheet.freeze_panes == f"A{titles[0].row + 1}"
    cells = [cell.value for cell in sheet[titles[0].row + 1]]
    assert cells == ["Asha Rao", "+91 98765 43210", datetime(2012, 5, 6), time(9, 5), -3, 0.905]  # noqa: DTZ001 - a date
    assert sheet[titles[0].row + 1][2].number_format == "yyyy-mm-dd"
    assert sheet[titles[0].row + 2][0].value == "राजेश कुमार"
    assert [sheet.cell(n, 1).value for n in range(1, 5)] == ["Roster", "Hill Camp", "Class 7B", "2026-11-18"]
    assert sheet.column_dimensions["A"].width > 8


def test_rows_beyond_the_limit_of_a_sheet_go_to_another():
    book = as_xlsx(*(row(f"Member {n}") for n in range(25)), most_rows=17)

    assert book.sheetnames == ["Report", "Report 2", "Report 3"]
    found = [r[0].value for sheet in book for r in sheet.iter_rows() if str(r[0].value).startswith("Member ")]
    assert found == [f"Member {n}" for n in range(25)]


def test_a_chart_has_its_own_sheet_with_its_values():
    document = Document(
        "History", "Hill Camp", COLUMNS, AT, chart=BarChart("By month", [("=2026-10", 90.0), ("2026-11", 80.5)])
    )

    book = as_xlsx(row(), document=document)

    assert [[cell.value for cell in r] for r in book["Chart"].iter_rows(max_col=2)] == [
        ["=2026-10", 90.0],
        ["2026-11", 80.5],
    ]
    assert book["Chart"]["A1"].data_type == "s"
    assert len(book["Chart"]._charts) == 1


def test_a_report_without_rows_has_its_heading():
    assert as_csv().decode("utf-8-sig").strip() == "Member,Phone,Born,In,Marks,%"
    assert as_xlsx().active.cell(1, 1).value == "Roster"
    assert date(2012, 5, 6).isoformat() == row()[2]
