"""The fonts of a document: for each letter the first of the Noto fonts that has it."""

import unicodedata
from pathlib import Path
from typing import Any

import typst
import uharfbuzz as hb

# Where Debian, Fedora, macOS and people keep fonts.
FOLDERS = ("/usr/share/fonts", "/usr/local/share/fonts", "/opt/homebrew/share/fonts", "/Library/Fonts")
# Those of the scripts that most people write; fonts of ancient scripts have some of their letters too.
FIRST = (
    "Noto Sans",
    *(
        f"Noto Sans {script}"
        for script in (
            *("Arabic", "Armenian", "Bengali", "Devanagari", "Ethiopic", "Georgian", "Gujarati", "Gurmukhi", "Hebrew"),
            *("Kannada", "Khmer", "Lao", "Malayalam", "Myanmar", "Oriya", "Sinhala", "Tamil", "Telugu", "Thai"),
        )
    ),
    "Noto Serif Tibetan",
)
# Han letters look different in each of these places.
_CJK = {"ja": "JP", "ko": "KR", "zh": "SC", "zh-tw": "TC", "zh-hant": "TC", "zh-hk": "HK"}
_PLAIN_WEIGHT = 400
INSTEAD = "?"  # of a letter that no font has


class Fonts:
    """The Noto fonts of this machine, and which of them a document needs."""

    def __init__(self, folders: str = "", locale: str = "en") -> None:
        """Find fonts.

        :param folders: before those of the system, with colons between.
        """
        places = [folder for folder in (*folders.split(":"), *FOLDERS) if folder and Path(folder).is_dir()]
        # Neither those that fontconfig names nor those in the compiler.
        self.typst = typst.Fonts(False, False, places)
        self._faces = _by_rank(self.typst, locale)
        self._covered: dict[str, Any] = {}
        self._of: dict[str, str | None] = {}
        # Letters that no font has; the report says so.
        self.missing: set[str] = set()

    @property
    def exist(self) -> bool:
        """Whether there are any."""
        return bool(self._faces)

    def used(self) -> list[str]:
        """Return the families that have the letters seen so far, the most usual first."""
        wanted = {family for family in self._of.values() if family is not None}
        return [family for family in self._faces if family in wanted] or list(self._faces)[:1]

    def printable(self, value: Any) -> Any:
        """Return a value with its texts as they can be printed, however deep they stand in it."""
        if isinstance(value, str):
            return self._printable(value)
        if isinstance(value, list):
            return [self.printable(one) for one in value]
        if isinstance(value, dict):
            return {key: self.printable(one) for key, one in value.items()}
        return value

    def _printable(self, text: str) -> str:
        """Return a text composed, without control characters, and with a sign for each letter that no font has."""
        if text.isascii() and text.isprintable():
            return text
        plain = "".join(
            " " if one.isspace() and one != "\n" else one
            for one in unicodedata.normalize("NFC", text)
            if one.isspace() or unicodedata.category(one) not in {"Cc", "Cs"}
        )
        return "".join(one if self._has(one) else INSTEAD for one in plain)

    def _has(self, letter: str) -> bool:
        if letter == "\n" or unicodedata.category(letter) == "Cf":
            return True
        if letter not in self._of:
            self._of[letter] = next((family for family in self._faces if self._covers(family, letter)), None)
        if self._of[letter] is None:
            self.missing.add(letter)
        return self._of[letter] is not None

    def _covers(self, family: str, letter: str) -> bool:
        if family not in self._covered:
            path, index = self._faces[family]
            self._covered[family] = hb.Face(hb.Blob.from_file_path(path), index).unicodes
        return ord(letter) in self._covered[family]


def _by_rank(fonts: typst.Fonts, locale: str) -> dict[str, tuple[str, int]]:
    """Return the upright face of each Noto family, its file and its index there, the most usual first."""
    found: dict[str, tuple[str, int]] = {}
    for font in fonts.fonts():
        is_plain = font.weight == _PLAIN_WEIGHT and font.style == "normal"
        if font.path is not None and is_plain and font.family.startswith("Noto"):
            found.setdefault(font.family, (font.path, font.index))
    cjk = f"Noto Sans CJK {_cjk_place(locale)}"
    return dict(sorted(found.items(), key=lambda one: _rank(one[0], cjk)))


def _rank(family: str, cjk: str) -> tuple[int, str]:
    """Return how early a family is tried: usual scripts, Han, other sans, then what is for other uses."""
    if family in FIRST:
        return FIRST.index(family), family
    if family == cjk:
        return len(FIRST), family
    is_special = any(word in family.split() for word in ("CJK", "Mono", "Display", "UI", "Math", "Music"))
    return len(FIRST) + 1 + (not family.startswith("Noto Sans")) + 2 * is_special, family


def _cjk_place(locale: str) -> str:
    words = locale.replace("_", "-").lower()
    return _CJK.get(words, _CJK.get(words.partition("-")[0], "JP"))
