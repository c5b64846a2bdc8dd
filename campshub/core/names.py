"""Names: what one may contain, and the one key by which all that have a name are searched and sorted.

In the key, case, width and, in Latin, accents and special letters make no difference: ``los`` finds Łoś, ``aesir``
finds Æsir. Other scripts keep their marks, which there are letters: й is not и.
"""

import re
import unicodedata
from functools import lru_cache
from typing import Any

from anyascii import anyascii
from sqlalchemy import ARRAY, ColumnElement, Text, all_, func

# What divides words: punctuation, symbols, blanks. `\w` would not do, it leaves out the vowel signs of many scripts.
_SIGNS = "".join(sign for sign in map(chr, range(0x3100)) if unicodedata.category(sign)[0] in "PSZ")
_BETWEEN_WORDS = re.compile(f"[{re.escape(_SIGNS)}]+")
_APOSTROPHES = str.maketrans("\u2018\u2019\u02bc\u02bb\u2032", "'" * 5)
# Letters and a symbol that no font draws.
_FILLERS = frozenset("\u115f\u1160\u2800\u3164\uffa0")
# Around a name they are no part of it. (A joiner may be: it ends words in Malayalam.)
_AROUND = "\u200b\u2060\ufeff"
# So many letters of a key order a list; cursors hold them, at up to four bytes each.
SORTED_LETTERS = 150

# One line: no control characters, and none that embeds, isolates or overrides a direction, by which a text shows as
# another. Joiners (U+200C, U+200D), which Persian and Indic scripts need, and marks of direction may stand in a name.
ONE_LINE = r"^[^\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]*$"
_ONE_LINE = re.compile(ONE_LINE)


def trimmed(text: str) -> str:
    """Return a text without the blanks and the invisible spaces around it."""
    while (shorter := text.strip().strip(_AROUND)) != text:
        text = shorter
    return text


def is_one_line(text: str) -> bool:
    """Whether a text has no control characters and keeps the direction of what stands beside it."""
    return _ONE_LINE.fullmatch(text) is not None


def is_visible(text: str) -> bool:
    """Whether a text has a letter, digit or sign that can be seen."""
    return any(unicodedata.category(sign)[0] in "LNPS" and sign not in _FILLERS for sign in text)


def folded(*parts: str | None) -> str:
    """Return the key of a name's parts, with one space between words."""
    joined = " ".join(part for part in parts if part)
    if joined.isascii():
        return " ".join(joined.lower().split())
    spread = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", joined).casefold())
    plain, is_latin = [], False
    for letter in spread.translate(_APOSTROPHES):
        category = unicodedata.category(letter)
        if category == "Cf":  # joiners, marks of direction, soft hyphens
            continue
        if not category.startswith("M"):
            is_latin = _is_latin(letter)
            plain.append(_plain(letter) if is_latin else letter)
        elif not is_latin:
            plain.append(letter)
    return " ".join(unicodedata.normalize("NFC", "".join(plain)).split())


def sort_key(*parts: str | None) -> str:
    """Return what lists are ordered by: the beginning of the key. Names that differ only after it go by id."""
    return folded(*parts)[:SORTED_LETTERS]


def words(*parts: str | None) -> list[str]:
    """Return the words of the key: what blanks, hyphens, apostrophes and other signs divide."""
    return _BETWEEN_WORDS.sub(" ", folded(*parts)).split()


def containing(text: str) -> str:
    """Return the pattern of the keys that contain a text."""
    return f"%{_escaped(folded(text))}%"


def patterns(text: str | None) -> str | None:
    """Return one pattern for each word of a text, with blanks between; None where there is no word."""
    return " ".join(map(containing, folded(text).split())) or None


def starts(text: str) -> str:
    """Return one pattern a line for each word of a text, the longest first: a word begins with it, after a blank."""
    found = sorted(words(text) or [folded(text)], key=len, reverse=True)
    return "\n".join(f"% {_escaped(word)}%" for word in found)


def _escaped(text: str) -> str:
    return re.sub(r"([\\%_])", r"\\\1", text)


@lru_cache(maxsize=4096)
def _is_latin(letter: str) -> bool:
    return letter.isascii() or unicodedata.name(letter, "").startswith("LATIN ")


@lru_cache(maxsize=4096)
def _plain(letter: str) -> str:
    """Return a Latin letter in letters of ASCII, as the library's table spells it."""
    return letter if letter.isascii() else anyascii(letter).lower()


def has_words(column: Any, patterns: Any) -> ColumnElement[bool]:
    """Return the condition that a text fits each of the patterns, which have blanks between (``patterns``)."""
    found: ColumnElement[bool] = column.like(all_(func.string_to_array(patterns, " ", type_=ARRAY(Text))))
    return found
