"""Setting lines: letters to glyphs, in their order on paper, as the words of a PDF page (HarfBuzz does the shaping)."""

import unicodedata
from dataclasses import dataclass
from functools import lru_cache

import uharfbuzz as hb

from campshub.reports.pdf import bidi
from campshub.reports.pdf.fonts import Fonts, Typeface

ELLIPSIS = "…"
INSTEAD = "?"  # of a letter that no font has
_KEPT = 50_000
# Scripts whose letters stand for themselves need no kerning in a table, and their words stay short without it.
_PLAIN = {"kern": False, "liga": False, "clig": False}
_PLAIN_BEFORE = "\u0590"


@dataclass(frozen=True, slots=True)
class Line:
    """A line that is set: its operators, for within BT and ET, and its width in points."""

    words: bytes
    width: float


class Setter:
    """Sets lines in a document's fonts; the same line is set once."""

    def __init__(self, fonts: Fonts) -> None:
        """Begin with nothing kept."""
        self.fonts = fonts
        self.line = lru_cache(maxsize=_KEPT // 10)(self._line)
        self.fitted = lru_cache(maxsize=_KEPT)(self._fitted)

    def _line(self, text: str, size: float, *, bold: bool = False) -> Line:
        """Set a line."""
        text = _cleaned(text)
        words, width = [], 0.0
        for begin, end, level in bidi.order(bidi.levels(text)):
            pieces = self._by_font(text[begin:end], bold=bold)
            for face, piece in reversed(pieces) if level % 2 else pieces:
                operators, advance = _shaped(face, piece, size, is_rtl=bool(level % 2))
                words.append(b"/%s %s Tf %s" % (face.name.encode(), number(size), operators))
                width += advance * size / 1000
        return Line(b" ".join(words), width)

    def _fitted(self, text: str, size: float, room: float, *, bold: bool = False) -> Line:
        """Set a line that is no wider than its room; what does not fit is cut, and shown to be."""
        line = self.line(text, size, bold=bold)
        if line.width <= room:
            return line
        low, high = 0, len(text)
        while low < high:
            middle = (low + high + 1) // 2
            fits = self.line(text[:middle].rstrip() + ELLIPSIS, size, bold=bold).width <= room
            low, high = (middle, high) if fits else (low, middle - 1)
        return self.line(text[:low].rstrip() + ELLIPSIS, size, bold=bold)

    def wrapped(self, text: str, size: float, room: float, *, most: int) -> list[Line]:
        """Set a text on as many lines as it needs, the last one cut where there would be more."""
        lines: list[Line] = []
        rest = " ".join(text.split())
        while rest and len(lines) < most - 1 and self.line(rest, size).width > room:
            at = self._break(rest, size, room)
            lines.append(self.line(rest[:at].rstrip(), size))
            rest = rest[at:].lstrip()
        return [*lines, self.fitted(rest, size, room)] if rest else lines

    def _break(self, text: str, size: float, room: float) -> int:
        """Return where a line ends: after the last word that fits, else within it."""
        low, high = 1, len(text)
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.line(text[:middle], size).width <= room else (low, middle - 1)
        blank = text.rfind(" ", 1, low + 1)
        return blank if blank > 0 else low

    def _by_font(self, text: str, *, bold: bool) -> list[tuple[Typeface, str]]:
        """Cut a text where its font changes; marks, blanks and signs stay with the letters before them."""
        pieces: list[tuple[Typeface, str]] = []
        for letter in text:
            face = pieces[-1][0] if pieces and _clings(letter) else None
            if face is None or not (face.has(letter) or _is_invisible(letter)):
                shown = letter if self.fonts.of(letter, bold=bold) else INSTEAD
                face, letter = self.fonts.of(shown, bold=bold), shown  # noqa: PLW2901 - what is printed in its place
            if face is None:
                continue
            if pieces and pieces[-1][0] is face:
                pieces[-1] = face, pieces[-1][1] + letter
            else:
                pieces.append((face, letter))
        return pieces


def _cleaned(text: str) -> str:
    """Return a text on one line, its letters composed, without what controls a terminal."""
    plain = "".join(" " if one.isspace() else one for one in unicodedata.normalize("NFC", text))
    return "".join(one for one in plain if unicodedata.category(one) not in {"Cc", "Cs"})


def _is_invisible(letter: str) -> bool:
    return unicodedata.category(letter) == "Cf"


def _clings(letter: str) -> bool:
    category = unicodedata.category(letter)
    return category[0] in "MZ" or category in {"Cf", "Nd", "Po", "Pd"}


def _shaped(face: Typeface, text: str, size: float, *, is_rtl: bool) -> tuple[bytes, float]:
    """Shape a text of one font and direction; return its operators and its width in thousandths."""
    is_plain = not is_rtl and all(letter < _PLAIN_BEFORE for letter in text)
    buffer = hb.Buffer()
    buffer.add_str(text)
    buffer.guess_segment_properties()
    buffer.direction = "rtl" if is_rtl else "ltr"
    hb.shape(face.font, buffer, _PLAIN if is_plain else {})
    infos, positions = buffer.glyph_infos, buffer.glyph_positions
    told = _note_used(face, text, [(info.codepoint, info.cluster) for info in infos], is_rtl=is_rtl)
    width = sum(position.x_advance for position in positions) * face.scale
    glyphs = [
        (
            info.codepoint,
            at.x_advance * face.scale,
            at.x_offset * face.scale,
            at.y_offset * face.scale,
        )
        for info, at in zip(infos, positions, strict=True)
    ]
    operators = _operators(face, glyphs, size)
    if not told:  # the letters cannot be told from the glyphs, so they are written beside them
        operators = b"/Span <</ActualText <FEFF%s>>> BDC %s EMC" % (text.encode("utf-16-be").hex().encode(), operators)
    return operators, width


def _note_used(face: Typeface, text: str, glyphs: list[tuple[int, int]], *, is_rtl: bool) -> bool:
    """Note which glyphs are used, and for what; tell whether the text can be read back from them alone."""
    clusters = [cluster for _, cluster in glyphs]
    one_each = len(glyphs) == len(text) and clusters == sorted(set(clusters), reverse=is_rtl)
    is_told = True
    for glyph, cluster in glyphs:
        if not one_each:
            face.used.setdefault(glyph, "")
            is_told = False
        elif face.used.get(glyph, "") in {"", text[cluster]}:
            face.used[glyph] = text[cluster]
        else:
            is_told = False
    return is_told


def _operators(face: Typeface, glyphs: list[tuple[int, float, float, float]], size: float) -> bytes:
    """Write glyphs: as one string where each stands at its own width, else with the steps between them."""
    shown: list[bytes] = []
    row: list[bytes] = []
    run = bytearray()
    raised = 0.0

    def end_run() -> None:
        if run:
            row.append(b"<%s>" % run.hex().encode())
            run.clear()

    def end_row() -> None:
        end_run()
        if row:
            shown.append(b"%s Tj" % row[0] if len(row) == 1 and row[0][:1] == b"<" else b"[%s] TJ" % b"".join(row))
            row.clear()

    for glyph, advance, right, up in glyphs:
        if abs(up - raised) > 0.5:  # noqa: PLR2004 - half a thousandth
            end_row()
            shown.append(b"%s Ts" % number(up * size / 1000))
            raised = up
        if abs(right) > 0.5:  # noqa: PLR2004
            end_run()
            row.append(number(-right))
        run += glyph.to_bytes(2, "big")
        after = advance - face.width(glyph) - right
        if abs(after) > 0.5:  # noqa: PLR2004
            end_run()
            row.append(number(-after))
    end_row()
    if raised:
        shown.append(b"0 Ts")
    return b" ".join(shown)


def number(value: float) -> bytes:
    """Write a number as PDF has it: no exponent, no more digits than a printer sees."""
    return f"{value:.2f}".rstrip("0").rstrip(".").encode() or b"0"
