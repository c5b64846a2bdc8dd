"""The fonts of a document: for each character, the first of the Noto fonts that has it."""

import unicodedata
from pathlib import Path
from typing import Any

import typst
import uharfbuzz as hb

# The font folders of Debian, Fedora, macOS and local installations.
FOLDERS = ("/usr/share/fonts", "/usr/local/share/fonts", "/opt/homebrew/share/fonts", "/Library/Fonts")
# The fonts of living scripts come first: fonts of ancient scripts contain some of the same characters.
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
# Han characters look different in each of these regions.
_CJK = {"ja": "JP", "ko": "KR", "zh": "SC", "zh-tw": "TC", "zh-hant": "TC", "zh-hk": "HK"}
_PLAIN_WEIGHT = 400
INSTEAD = "?"  # for a character that no font has


class Fonts:
    """The Noto fonts of this machine, and those that a document needs."""

    def __init__(self, folders: str = "", locale: str = "en") -> None:
        """Find fonts.

        :param folders: separated by colons; they precede the system's.
        """
        paths = [folder for folder in (*folders.split(":"), *FOLDERS) if folder and Path(folder).is_dir()]
        # Neither the fonts that fontconfig lists nor those embedded in the compiler.
        self.typst = typst.Fonts(False, False, paths)
        self._faces = _by_rank(self.typst, locale)
        self._covered: dict[str, Any] = {}
        self._of: dict[str, str | None] = {}
        # Characters that no font has; the report's notes list them.
        self.missing: set[str] = set()

    @property
    def exist(self) -> bool:
        """Whether there are any."""
        return bool(self._faces)

    def used(self) -> list[str]:
        """Return the families needed for the characters seen so far, the most common first."""
        wanted = {family for family in self._of.values() if family is not None}
        return [family for family in self._faces if family in wanted] or list(self._faces)[:1]

    def printable(self, value: Any) -> Any:
        """Return a value with all its texts made printable, at any depth."""
        if isinstance(value, str):
            return self._printable(value)
        if isinstance(value, list):
            return [self.printable(one) for one in value]
        if isinstance(value, dict):
            return {key: self.printable(one) for key, one in value.items()}
        return value

    def _printable(self, text: str) -> str:
        """Return a text in NFC, without control characters, and with ``INSTEAD`` for characters that no font has."""
        if text.isascii() and text.isprintable():
            return text
        plain = "".join(
            " " if one.isspace() and one != "\n" else one
            for one in unicodedata.normalize("NFC", text)
            if one.isspace() or unicodedata.category(one) not in {"Cc", "Cs"}
        )
        return "".join(one if self._has(one) else INSTEAD for one in plain)

    def _has(self, character: str) -> bool:
        if character == "\n" or unicodedata.category(character) == "Cf":
            return True
        if character not in self._of:
            self._of[character] = next((family for family in self._faces if self._covers(family, character)), None)
        if self._of[character] is None:
            self.missing.add(character)
        return self._of[character] is not None

    def _covers(self, family: str, character: str) -> bool:
        if family not in self._covered:
            path, index = self._faces[family]
            self._covered[family] = hb.Face(hb.Blob.from_file_path(path), index).unicodes
        return ord(character) in self._covered[family]


def _by_rank(fonts: typst.Fonts, locale: str) -> dict[str, tuple[str, int]]:
    """Return the upright face of each Noto family, with its file and its index in it, the most common first."""
    found: dict[str, tuple[str, int]] = {}
    for font in fonts.fonts():
        is_plain = font.weight == _PLAIN_WEIGHT and font.style == "normal"
        if font.path is not None and is_plain and font.family.startswith("Noto"):
            found.setdefault(font.family, (font.path, font.index))
    cjk = f"Noto Sans CJK {_cjk_region(locale)}"
    return dict(sorted(found.items(), key=lambda one: _rank(one[0], cjk)))


def _rank(family: str, cjk: str) -> tuple[int, str]:
    """Return a family's sort key: common scripts, Han, other sans, then special uses."""
    if family in FIRST:
        return FIRST.index(family), family
    if family == cjk:
        return len(FIRST), family
    is_special = any(word in family.split() for word in ("CJK", "Mono", "Display", "UI", "Math", "Music"))
    return len(FIRST) + 1 + (not family.startswith("Noto Sans")) + 2 * is_special, family


def _cjk_region(locale: str) -> str:
    tag = locale.replace("_", "-").lower()
    return _CJK.get(tag, _CJK.get(tag.partition("-")[0], "JP"))
