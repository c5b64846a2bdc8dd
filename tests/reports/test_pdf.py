"""PDF: names in any script are shaped, found again as they were written, and none becomes an empty box in silence."""

import io
import re
import subprocess
from datetime import UTC, datetime

import pytest

from campshub.reports.document import Chart, Column, Document, Is
from campshub.reports.formats import pdf
from campshub.reports.pdf import bidi
from campshub.reports.pdf.fonts import Fonts
from campshub.reports.pdf.setting import Setter
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
    "Han": "王小明",
    "Hangul": "김민수",
    "Kana": "やまだ タロウ",
}
COLUMNS = (Column("No", Is.NUMBER, 10), Column("Member", mm=70), Column("Note", mm=80, most_lines=3))


def printed(tmp_path, rows, **changes):
    document = Document(
        **{
            "title": "Roster",
            "organization": "Hill Camp",
            "columns": COLUMNS,
            "generated_at": datetime(2026, 11, 18, 6, 30, tzinfo=UTC),
            **changes,
        }
    )
    out = io.BytesIO()
    told = pdf.write(out, document, rows)
    path = tmp_path / "report.pdf"
    path.write_bytes(out.getvalue())
    return path, told


def text_of(path, *options):
    made = subprocess.run(
        [find("pdftotext", "poppler-utils"), *options, str(path), "-"], capture_output=True, check=True
    )
    assert made.stderr == b""
    return re.sub("[\u200e\u200f\u202a-\u202e\u2066-\u2069]", "", made.stdout.decode())  # marks of direction


@pytest.mark.parametrize("script", NAMES)
def test_names_of_any_script_are_found_as_they_were_written(tmp_path, script):
    path, told = printed(tmp_path, [[1, NAMES[script], ""]])

    assert NAMES[script] in text_of(path, "-layout")
    assert told.notes == []


@pytest.mark.parametrize("script", NAMES)
def test_no_name_becomes_an_empty_box(script):
    fonts = Fonts()
    Setter(fonts).line(NAMES[script], 8.0)

    assert fonts.missing == set()
    assert {0} & {glyph for face in fonts.opened for glyph, _, _ in face.used.values()} == set()  # the box is glyph 0


@pytest.mark.parametrize(
    ("script", "letters"),
    [("Devanagari", "क्षि"), ("Tamil", "கொ"), ("Arabic", "محمد"), ("Malayalam", "ക്ക"), ("Khmer", "ស្រី")],
)
def test_letters_are_joined_and_reordered_as_their_script_has_it(script, letters):
    """Unshaped, each letter would be the glyph that the font has for it by itself."""
    fonts = Fonts()
    Setter(fonts).line(letters, 8.0)

    (face,) = fonts.opened
    alone = {face.font.get_nominal_glyph(ord(letter)) for letter in letters}
    assert {glyph for glyph, _, _ in face.used.values()} != alone, script


def test_letters_that_no_font_has_are_told(tmp_path):
    path, told = printed(tmp_path, [[1, "Asha \U0001f600", ""]])

    assert told.notes == ["No font here has U+1F600: printed as question marks."]
    assert "Asha ?" in text_of(path)


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
    ],
)
def test_lines_run_as_their_letters_do(text, shown):
    runs = bidi.order(bidi.levels(text))

    laid = "".join(text[begin:end][::-1] if level % 2 else text[begin:end] for begin, end, level in runs)
    assert laid == shown


def test_every_page_has_the_titles_and_its_number(tmp_path):
    path, told = printed(tmp_path, [[n, f"Member {n}", ""] for n in range(1, 201)])
    pages = text_of(path, "-layout").split("\f")[:-1]

    assert told.rows == 200
    assert len(pages) > 3
    for number, page in enumerate(pages, 1):
        assert f"Page {number} of {len(pages)}" in page
        assert re.search(r"No\s+Member\s+Note", page)
    found = re.findall(r"Member (\d+)", "".join(pages))
    assert found == [str(n) for n in range(1, 201)]
    assert "Hill Camp" in pages[0]
    assert "2026-11-18 06:30 (UTC)" in pages[0]


def test_a_long_note_is_wrapped_and_a_long_name_is_cut(tmp_path):
    note = "a note of many words " * 6
    path, _ = printed(tmp_path, [[1, "A name " * 30, note.strip()]])
    text = text_of(path, "-layout")

    assert "…" in text
    assert text.count("many words") == 6


def test_a_chart_has_its_labels_and_scale(tmp_path):
    chart = Chart("By month", [("2026-09", 80.0), ("2026-10", 95.0), ("2026-11", 60.0)], "%")
    path, _ = printed(tmp_path, [[1, "Asha", ""]], chart=chart, landscape=True)
    text = text_of(path)

    for word in ("By month", "2026-09", "2026-11", "100%", "0%"):
        assert word in text


def test_the_file_opens_and_draws_without_a_complaint(tmp_path):
    path, _ = printed(tmp_path, [[n, name, name] for n, name in enumerate(NAMES.values())])
    drawn = subprocess.run(
        [find("pdftoppm", "poppler-utils"), "-r", "40", "-png", str(path), str(tmp_path / "page")],
        capture_output=True,
        check=True,
    )

    assert drawn.stderr == b""
    assert len(list(tmp_path.glob("page*.png"))) >= 1


def test_an_empty_report_says_so(tmp_path):
    path, told = printed(tmp_path, [])

    assert told.rows == 0
    assert "Nothing to show" in text_of(path)
