"""Setting lines: letters to glyphs, in their order on paper, as the words of a PDF page (HarfBuzz does the shaping)."""

import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import uharfbuzz as hb

from campshub.reports.pdf import bidi
from campshub.reports.pdf.fonts import Fonts, Typeface

ELLIPSIS = "…"
INSTEAD = "?"  # of a letter that no font has
_KEPT = 50_000
# Scripts whose letters stand for themselves need no kerning in a table, and their words stay short without it.
_PLAIN = {"kern": False, "liga": False, "clig": False}
_PLAIN_BEFORE = "\u0590"
_SEEN = 0.5  # thousandths; nobody sees less


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
    buffer.cluster_level = hb.BufferClusterLevel.MONOTONE_CHARACTERS  # a mark is told apart from its letter
    buffer.direction = "rtl" if is_rtl else "ltr"
    hb.shape(face.font, buffer, _PLAIN if is_plain else {})
    shaped = [
        _Shape(
            info.codepoint, info.cluster, *(value * face.scale for value in (at.x_advance, at.x_offset, at.y_offset))
        )
        for info, at in zip(buffer.glyph_infos, buffer.glyph_positions, strict=True)
    ]
    width = sum(shape.advance for shape in shaped)
    if is_rtl:
        return _operators(_from_right(face, text, shaped), size), width
    if len(shaped) == len(text) and [shape.cluster for shape in shaped] == list(range(len(text))):
        return _operators([_plain(face, shape, text[shape.cluster]) for shape in shaped], size), width
    # The letters cannot be told from the glyphs one by one, so they are written beside them.
    words = (text.encode("utf-16-be").hex().encode(), _operators([_plain(face, shape) for shape in shaped], size))
    return b"/Span <</ActualText <FEFF%s>>> BDC %s EMC" % words, width


class _Shape(NamedTuple):
    """A glyph as it was shaped, in thousandths."""

    glyph: int
    cluster: int
    advance: float
    right: float
    up: float


class _Placed(NamedTuple):
    """A glyph's numbers in the document, how far these move on by themselves, how far they should, and from where."""

    numbers: tuple[int, ...]
    width: float
    advance: float
    right: float = 0
    up: float = 0


def _plain(face: Typeface, shape: _Shape, letter: str = "") -> _Placed:
    made = face.number(shape.glyph, letter)
    return _Placed((made,), face.width(shape.glyph), shape.advance, shape.right, shape.up)


def _from_right(face: Typeface, text: str, shaped: list[_Shape]) -> list[_Placed]:
    """Place glyphs that run from right to left so that the letters can be read back.

    Readers turn such lines around letter by letter. So each letter must be there by itself, also those of a ligature,
    and on the line, also a mark that stands above it: what is missing is put in as something invisible.
    """
    starts = sorted({shape.cluster for shape in shaped})
    ends = dict(zip(starts, [*starts[1:], len(text)], strict=True))
    told: set[int] = set()
    placed: list[_Placed] = []
    for shape in shaped:
        letters = text[shape.cluster : ends[shape.cluster]] if shape.cluster not in told else ""
        told.add(shape.cluster)
        own = face.width(shape.glyph)
        if len(letters) > 1 and shape.advance > 0:
            share = own / len(letters)
            first, *others = reversed(letters)
            numbers = (face.number(shape.glyph, first, share), *(face.blank(letter, share) for letter in others))
            placed.append(_Placed(numbers, own, shape.advance, shape.right, shape.up))
        elif letters and shape.advance == 0:
            placed.append(_plain(face, shape))
            placed.append(_Placed(tuple(face.blank(letter, 0) for letter in reversed(letters)), 0, 0))
        else:
            placed.append(_plain(face, shape, letters))
    return placed


def _operators(placed: list[_Placed], size: float) -> bytes:
    """Write glyphs: as one string where each stands at its own width, else with the steps between them."""
    shown: list[bytes] = []
    row = _Row()
    raised = 0.0
    for one in placed:
        if abs(one.up - raised) > _SEEN:
            shown += row.end()
            shown.append(b"%s Ts" % number(one.up * size / 1000))
            raised = one.up
        row.step(one.right)
        row.show(one.numbers)
        row.step(one.advance - one.width - one.right)
    shown += row.end()
    if raised:
        shown.append(b"0 Ts")
    return b" ".join(shown)


class _Row:
    """Glyphs at one height, and the steps between them."""

    def __init__(self) -> None:
        self._words: list[bytes] = []
        self._run = bytearray()

    def show(self, numbers: tuple[int, ...]) -> None:
        """Add glyphs."""
        for made in numbers:
            self._run += made.to_bytes(2, "big")

    def step(self, thousandths: float) -> None:
        """Move on by more, or less, than the glyphs do by themselves."""
        if abs(thousandths) > _SEEN:
            self._end_run()
            self._words.append(number(-thousandths))

    def end(self) -> list[bytes]:
        """Return what shows them, and begin anew."""
        self._end_run()
        words, self._words = self._words, []
        if not words:
            return []
        return [b"%s Tj" % words[0] if len(words) == 1 and words[0][:1] == b"<" else b"[%s] TJ" % b"".join(words)]

    def _end_run(self) -> None:
        if self._run:
            self._words.append(b"<%s>" % self._run.hex().encode())
            self._run.clear()


def number(value: float) -> bytes:
    """Write a number as PDF has it: no exponent, no more digits than a printer sees."""
    return f"{value:.2f}".rstrip("0").rstrip(".").encode() or b"0"
