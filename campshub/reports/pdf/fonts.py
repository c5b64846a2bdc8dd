"""The fonts that a page is set in: for each letter the first of the system's Noto fonts that has it."""

import struct
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import uharfbuzz as hb

# Where Debian, Fedora, macOS and people keep fonts.
FOLDERS = ("/usr/share/fonts", "/usr/local/share/fonts", "/opt/homebrew/share/fonts", "/Library/Fonts")
# Those of the scripts that most people write; fonts of ancient scripts have some of their letters too.
FIRST = (
    "NotoSans",
    *(
        f"NotoSans{script}"
        for script in [
            "Arabic",
            "Armenian",
            "Bengali",
            "Devanagari",
            "Ethiopic",
            "Georgian",
            "Gujarati",
            "Gurmukhi",
            "Hebrew",
            "Kannada",
            "Khmer",
            "Lao",
            "Malayalam",
            "Myanmar",
            "Oriya",
            "Sinhala",
            "Tamil",
            "Telugu",
            "Thai",
            "Tibetan",
            "CJK",
        ]
    ),
)
# The faces in the collection, by the language of the place: Han letters look different in each.
_CJK_FACES = {"ja": 0, "ko": 1, "zh": 2, "zh-tw": 3, "zh-hant": 3, "zh-hk": 4}
_EM = 1000


class NoFonts(Exception):
    """The machine has no Noto fonts; install fonts-noto-core and fonts-noto-cjk, or name a folder in REPORT_FONTS."""


class Typeface:
    """One font of a document, and the glyphs of it that the document uses."""

    def __init__(self, name: str, path: Path, index: int) -> None:
        """Map a font's file into memory."""
        self.name, self.path = name, path
        self.face = hb.Face(hb.Blob.from_file_path(str(path)), index)
        self.font = hb.Font(self.face)
        self.scale = _EM / self.face.upem
        # What the document uses, by its number there: the glyph, the letter that it stands for (none where only its
        # neighbours together tell), and how far it moves on.
        self.used: dict[int, tuple[int, str, float]] = {}
        self._numbers: dict[tuple[int, str, float], int] = {}
        self._blank = self.font.get_nominal_glyph(ord(" ")) or 0

    def number(self, glyph: int, letter: str = "", width: float | None = None) -> int:
        """Return a glyph's number in the document: one for each letter that it stands for.

        PostScript's fonts keep their glyphs' own.
        """
        one = (glyph, letter, self.width(glyph) if width is None else width)
        made = self._numbers.get(one)
        if made is None:
            made = self._numbers[one] = glyph if self.is_cff else len(self._numbers) + 1
            self.used.setdefault(made, one)
        return made

    def blank(self, letter: str, width: float) -> int:
        """Return the number of something invisible that stands for a letter."""
        return self.number(self._blank, letter, width)

    def has(self, letter: str) -> bool:
        """Tell whether the font has a glyph for a letter."""
        return bool(self.font.get_nominal_glyph(ord(letter)))

    def width(self, glyph: int) -> float:
        """Return a glyph's own width, in thousandths of the font's size."""
        return float(self.font.get_glyph_h_advance(glyph) * self.scale)

    @cached_property
    def is_cff(self) -> bool:
        """Whether its outlines are PostScript's."""
        return "CFF " in self.face.table_tags

    @cached_property
    def bounds(self) -> tuple[int, ...]:
        """The box around all glyphs, the ascent and the descent, in thousandths."""
        head, hhea = (bytes(self.face.reference_table(tag).data) for tag in ("head", "hhea"))
        box = struct.unpack(">4h", head[36:44])
        return tuple(round(value * self.scale) for value in (*box, *struct.unpack(">2h", hhea[4:8])))

    def subset(self) -> bytes:
        """Return the font with the glyphs alone that are used, under their own numbers."""
        wanted = hb.SubsetInput()
        wanted.flags = hb.SubsetFlags.RETAIN_GIDS | hb.SubsetFlags.NO_HINTING | hb.SubsetFlags.NO_LAYOUT_CLOSURE
        for glyph, _, _ in self.used.values():
            wanted.glyph_set.add(glyph)
        for tag in ("GSUB", "GPOS", "GDEF", "name", "post"):
            wanted.drop_table_tag_set.add(_tag(tag))
        made: Any = hb.subset(self.face, wanted)
        return bytes(made.reference_table("CFF ").data if self.is_cff else made.blob.data)


class Fonts:
    """The fonts of one document, opened as its letters ask for them."""

    def __init__(self, folders: str = "", locale: str = "en") -> None:
        """Look where fonts may be.

        :raises NoFonts: there are none.
        """
        self._files = _found(folders)
        self._cjk = _cjk_face(locale)
        self._opened: dict[Path, Typeface] = {}
        self._of: dict[tuple[str, bool], Typeface | None] = {}
        # Letters that no font has; the report says so.
        self.missing: set[str] = set()

    @property
    def opened(self) -> list[Typeface]:
        """The fonts that the document uses."""
        return [face for face in self._opened.values() if face.used]

    def of(self, letter: str, *, bold: bool = False) -> Typeface | None:
        """Return the font for a letter; None where no font has it."""
        key = (letter, bold)
        if key not in self._of:
            self._of[key] = self._first_with(letter, bold=bold)
            if self._of[key] is None:
                self.missing.add(letter)
        return self._of[key]

    def _first_with(self, letter: str, *, bold: bool) -> Typeface | None:
        for path in (*(self._files["Bold"] if bold else ()), *self._files["Regular"]):
            face = self._open(path)
            if face.has(letter):
                return face
        return None

    def _open(self, path: Path) -> Typeface:
        if path not in self._opened:
            index = self._cjk if path.suffix == ".ttc" else 0
            self._opened[path] = Typeface(f"F{len(self._opened)}", path, index)
        return self._opened[path]


@lru_cache(maxsize=8)
def _found(folders: str) -> dict[str, tuple[Path, ...]]:
    """Return the fonts by their weight, those first that most letters are in.

    :raises NoFonts: there are none.
    """
    places = [Path(folder) for folder in (*folders.split(":"), *FOLDERS) if folder]
    found: dict[str, tuple[Path, ...]] = {}
    for weight in ("Regular", "Bold"):
        files = {
            path.name: path
            for place in reversed(places)
            for path in sorted(place.rglob(f"NotoSans*-{weight}.[to]t[fc]"))
        }
        found[weight] = tuple(sorted(files.values(), key=_rank))
    if not found["Regular"]:
        raise NoFonts(NoFonts.__doc__)
    return found


def _rank(path: Path) -> tuple[int, str]:
    family = path.name.partition("-")[0]
    if family in FIRST:
        return FIRST.index(family), family
    return len(FIRST) + family.endswith(("Mono", "Display", "UI")), family


def _cjk_face(locale: str) -> int:
    words = locale.replace("_", "-").lower()
    return _CJK_FACES.get(words, _CJK_FACES.get(words.partition("-")[0], 0))


def _tag(name: str) -> int:
    return int.from_bytes(name.encode(), "big")
