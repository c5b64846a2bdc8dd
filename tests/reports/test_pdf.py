"""PDF: names in any script are complete and extractable as text, and the file is accessible as far as its note says."""

import io
import re
import subprocess
from datetime import UTC, datetime
from xml.etree import ElementTree as ET

import pytest
from pypdf import PdfReader

from campshub.core.charts import BarChart
from campshub.reports.document import Column, Document, Is
from campshub.reports.formats import TooManyRows, pdf
from devstack.packages import find

NAMES = {
    "Latin": "Ñandú Müller-Łukasz",
    "Cyrillic": "Иван Иванов",
    "Greek": "Αλέξανδρος",
    "Devanagari": "श्रीमती क्षितिजा त्रिपाठी",
    "Bengali": "বিশ্বজিৎ রায়",
    "Gurmukhi": "ਗੁਰਪ੍ਰੀਤ ਸਿੰਘ",
    "Gujarati": "કૃષ્ણકાંત પટેલ",
    "Tamil": "தமிழ்ச்செல்வன்",
    "Telugu": "శ్రీనివాస్ రెడ్డి",
    "Kannada": "ಕೃಷ್ಣಮೂರ್ತಿ",
    "Malayalam": "ഉണ്ണികൃഷ്ണൻ",
    "Sinhala": "ශ්‍රීනාත්",
    "Arabic": "محمد عبد الرحمن",
    "Urdu": "محمّد یوسف",
    "Arabic, joined": "علاء الدين الإسلام",
    "Hebrew": "אברהם בן־דוד",
    "Thai": "สมชาย ใจดี",
    "Khmer": "សុខ សុភា",
    "Myanmar": "ကျော်စွာ",
    "Tibetan": "བསྟན་འཛིན",
    "Han": "王小明",
    "Hangul": "김민수",
    "Kana": "やまだ タロウ",
}
# Where several glyphs represent several letters, Typst writes all the letters with each: readers find some twice, or
# the two letters of a ligature reversed.
INEXACT = {"Gujarati", "Urdu", "Arabic, joined", "Khmer", "Tibetan"}
MARKUP = [
    '#import "report.typ": *',
    '#read("/etc/passwd")',
    "$ a_1^2 $ and $x",
    "@reference *bold* _emphasis_ `raw`",
    "\\u{41} \\ // comment",
    "/* comment */ <label> = heading",
    "] #[ ) #( } #{",
    '"quoted" \\" {"json": 1}',
    "--- ~ ... 'x'",
]
COLUMNS = (Column("No", Is.NUMBER, 10), Column("Member", mm=70), Column("Note", mm=80))
AT = datetime(2026, 11, 18, 6, 30, tzinfo=UTC)
POINTS_PER_MM = 72 / 25.4


@pytest.fixture
def printed(tmp_path):
    def write(rows, pdf_rows=pdf.MOST_ROWS, **changes):
        document = {"title": "Roster", "organization": "Hill Camp", "columns": COLUMNS, "generated_at": AT, **changes}
        out = io.BytesIO()
        result = pdf.write(out, Document(**document), rows, folder=str(tmp_path), pdf_rows=pdf_rows)
        path = tmp_path / "printed.pdf"
        path.write_bytes(out.getvalue())
        return path, result

    return write


def output(program, *arguments):
    made = subprocess.run([find(program, "poppler-utils"), *map(str, arguments)], capture_output=True, check=True)
    return made.stdout.decode()


def text_of(path, *options):
    return re.sub("[\u200e\u200f\u202a-\u202e\u2066-\u2069]", "", output("pdftotext", *options, path, "-"))


def joined(text):
    return "".join(text.split())


def test_names_in_any_script_are_extracted_as_they_were_written(printed):
    path, result = printed([[number, name, ""] for number, name in enumerate(NAMES.values())])
    text = text_of(path)

    assert result.notes == []
    assert {script for script, name in NAMES.items() if name not in text} == INEXACT
    assert set("".join(NAMES.values())) - {" "} <= set(text)


@pytest.mark.parametrize(
    ("letters", "glyph"), [("لا", "06440627"), ("क्षि", "0915094D0937"), ("ශ්‍රී", "0DC1"), ("ស្រី", "179F17D2179A")]
)
def test_letters_are_joined_by_the_rules_of_their_script(printed, letters, glyph):
    path, _ = printed([[1, letters, ""]])

    tables = [
        font.get_object()["/ToUnicode"].get_data().decode()
        for font in PdfReader(path).pages[0]["/Resources"]["/Font"].values()
    ]
    assert any(re.search(f"<{glyph}[0-9A-F]*>", table) for table in tables)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Asha Rao", "Asha Rao"),
        ("אבג", "גבא"),
        ("Room אבג 12", "Room 12 גבא"),
        ("אבג 12 דה", "הד 12 גבא"),
        ("אבג Daniel דה", "הד Daniel גבא"),
        ("ע 1,234.50%", "1,234.50% ע"),
        ("محمد 12", "12 دمحم"),
        ("(R1) אבג", "(R1) גבא"),
    ],
)
def test_lines_run_in_the_direction_of_their_letters(printed, text, shown):
    path, _ = printed([[1, text, ""]])

    words = re.findall(r'<word xMin="([\d.]+)"[^>]*>([^<]*)</word>', output("pdftotext", "-bbox", path, "-"))
    wanted = shown.split()  # by position on paper, from left to right, in the order of the tool
    assert [word for _, word in sorted((float(x), word) for x, word in words) if word in wanted] == wanted


def test_letters_without_a_font_are_reported(printed):
    path, result = printed([[1, "Asha \U0001f600", ""]])

    assert result.notes == ["No font here has U+1F600: printed as question marks."]
    assert "Asha ?" in text_of(path)


@pytest.mark.parametrize("markup", MARKUP)
def test_markup_is_set_as_text(printed, markup):
    path, _ = printed(
        [[1, markup, markup]], organization=markup, subject=(markup,), legend=markup, summary=([None, markup, None],)
    )

    assert joined(text_of(path)).count(joined(markup)) >= 6
    assert PdfReader(path).metadata.title == f"Roster, {markup}"


def test_control_characters_do_not_stop_a_report(printed):
    path, _ = printed([[1, "A\x00s\x1bh\u2028a\ud7ff\ufffe", "one\r\ntwo\tthree"]])

    text = text_of(path)
    assert "one two three" in text
    assert "Ash a" in text


def test_every_page_has_the_titles_and_its_number(printed):
    path, result = printed([[n, f"Member {n}", ""] for n in range(1, 201)], subject=("Class 7B", "2026-11-18"))
    pages = text_of(path, "-layout").split("\f")[:-1]

    assert (result.rows, result.notes) == (200, [])
    assert len(pages) > 3
    for number, page in enumerate(pages, 1):
        assert f"Page {number} of {len(pages)}" in page
        assert re.search(r"No\s+Member\s+Note", page)
        assert "Hill Camp · Roster · Class 7B · 2026-11-18" in page
        assert "2026-11-18 06:30 (UTC)" in page
    assert re.findall(r"Member (\d+)", "".join(pages)) == [str(n) for n in range(1, 201)]
    assert "Entries: 200" in pages[-1]


@pytest.mark.parametrize(
    "name",
    [
        "Adolph Blaine Charles David Earl Frederick Gerald Hubert Irvin John Kenneth Lloyd Martin",
        "Wolfeschlegelsteinhausenbergerdorffwelchevoralternwarengewissenhaftschaferswessenschafewaren",
        "bartholomew.featherstonehaugh-cholmondeley.of.the.very.long.name@mail.example.org",
        "Kuan Maximilianawolfeschlegelsteinhausenbergerdorffwelchevoralternwaren Lu",
        "王小明" * 20,
        "محمد" * 20,
    ],
)
def test_a_name_wraps_within_its_column_and_is_not_cut(printed, name):
    path, _ = printed([[1, name, ""]])

    if name.isascii():
        assert joined(name) in joined(text_of(path))
    boxes = re.findall(r'xMin="([\d.]+)" yMin="([\d.]+)" xMax="([\d.]+)"', output("pdftotext", "-bbox", path, "-"))
    in_table = [(float(left), float(right)) for left, top, right in boxes if 90 < float(top) < 760]
    right_edge = (12 + 186 * 80 / 160) * POINTS_PER_MM  # of the second column
    assert all(right <= right_edge for left, right in in_table if left < right_edge - 1)


def test_a_text_longer_than_a_page_continues_on_the_next(printed):
    note = " ".join(f"word{n}" for n in range(2_000))
    path, _ = printed([[1, "Asha", note]])

    assert len(PdfReader(path).pages) > 1
    assert re.findall(r"word\d+", text_of(path)) == note.split()


def test_a_chart_is_drawn_with_its_description(printed):
    chart = BarChart("By month", [("2026-09", 80.0), ("2026-10", 95.0), ("2026-11", 60.0)], "%")
    path, _ = printed([[1, "Asha", ""]], chart=chart, template="student")
    text = text_of(path)

    for word in ("By month", "2026-09", "2026-11", "100%", "0%", "95%"):
        assert word in text
    (figure,) = (element for element in structure(path) if element.get("/S") == "/Figure")
    assert figure["/Alt"] == "Bar chart. By month. 2026-09: 80%; 2026-10: 95%; 2026-11: 60%."


def structure(path):
    """Return all elements of a file's structure."""
    found, waiting = [], [PdfReader(path).trailer["/Root"]["/StructTreeRoot"]]
    while waiting:
        element = waiting.pop()
        found.append(element)
        kids = element.get("/K", [])
        kids = kids if isinstance(kids, list) else [kids]
        waiting += [kid for one in kids if isinstance(kid := one.get_object(), dict) and "/S" in kid]
    return found


@pytest.mark.parametrize("template", ["list", "register", "student"])
def test_a_file_is_tagged_and_declares_its_accessibility(printed, template):
    path, _ = printed([[n, f"Member {n}", ""] for n in range(100)], template=template, summary=([None, "Total", "9"],))
    reader = PdfReader(path)
    root = reader.trailer["/Root"]

    assert root["/MarkInfo"]["/Marked"]
    assert root["/Lang"] == "en"
    assert root["/ViewerPreferences"]["/DisplayDocTitle"]
    assert reader.metadata.title == "Roster, Hill Camp"
    assert [entry.title for entry in reader.outline] == ["Roster"]
    described = root["/Metadata"].get_object().get_data()
    ET.fromstring(described)  # noqa: S314 - our own output
    assert b"pdfuaid:part>1<" in described
    kinds = [element.get("/S") for element in structure(path)]
    assert (kinds.count("/H1"), kinds.count("/Table"), kinds.count("/THead")) == (1, 1, 1)
    # Titles are headers once, and decoration where a page repeats them.
    assert kinds.count("/TH") == len(COLUMNS)
    assert kinds.count("/TR") == 1 + 100 + 1
    assert kinds.count("/TD") == 101 * len(COLUMNS)
    assert all(page["/Tabs"] == "/S" for page in reader.pages)


def test_the_file_opens_and_renders_without_a_warning(printed, tmp_path):
    path, _ = printed([[n, name, name] for n, name in enumerate(NAMES.values())])
    drawn = subprocess.run(
        [find("pdftoppm", "poppler-utils"), "-r", "40", "-png", str(path), str(tmp_path / "page")],
        capture_output=True,
        check=True,
    )
    checked = subprocess.run([find("qpdf", "qpdf"), "--check", str(path)], capture_output=True, check=False)

    assert drawn.stderr == b""
    assert len(list(tmp_path.glob("page*.png"))) >= 1
    assert (checked.returncode, checked.stderr) == (0, b"")


def test_an_empty_report_has_a_note(printed):
    path, result = printed([])

    assert result.rows == 0
    assert "Nothing to show" in text_of(path)


def test_a_register_ends_with_sums_and_a_signature_line(printed):
    columns = (Column("Member", mm=44), *(Column(f"{day}\nM", mm=6, centred=True) for day in range(1, 32)))
    path, _ = printed(
        [["Asha", *["P"] * 31]],
        columns=columns,
        landscape=True,
        template="register",
        summary=(["Attended", *[7] * 31],),
        legend="P Present",
    )
    text = text_of(path, "-layout")

    assert re.search(r"Attended(\s+7){31}", text)
    assert "P Present" in text
    assert text.count("signature") == 2


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(pdf, "TAGGED_ROWS", 30)
    monkeypatch.setattr(pdf, "CHUNK_ROWS", 40)


def test_a_long_report_is_joined_with_page_numbers_title_and_bookmark(printed, small_chunks):
    path, result = printed([[n, f"Member {n}", ""] for n in range(1, 101)], legend="the legend")
    pages = text_of(path, "-layout").split("\f")[:-1]
    reader = PdfReader(path)

    assert (result.rows, result.notes) == (100, [pdf.UNTAGGED])
    assert [re.findall(r"Page (\d+) of (\d+)", page) for page in pages] == [
        [(str(n), str(len(pages)))] for n in range(1, len(pages) + 1)
    ]
    assert re.findall(r"Member (\d+)", "".join(pages)) == [str(n) for n in range(1, 101)]
    assert ["the legend" in page for page in pages] == [False] * (len(pages) - 1) + [True]
    assert reader.metadata.title == "Roster, Hill Camp"
    assert [entry.title for entry in reader.outline] == ["Roster"]
    root = reader.trailer["/Root"]
    assert root["/Lang"] == "en"
    assert root["/ViewerPreferences"]["/DisplayDocTitle"]
    assert "/StructTreeRoot" not in root
    assert b"pdfuaid" not in root["/Metadata"].get_object().get_data()


@pytest.mark.parametrize("most", [20, 60])
def test_more_rows_than_a_pdf_may_have_are_refused(printed, small_chunks, most):
    rows = [[n, f"Member {n}", ""] for n in range(most + 1)]

    with pytest.raises(TooManyRows):
        printed(rows, pdf_rows=most)
    assert printed(rows[:most], pdf_rows=most)[1].rows == most
