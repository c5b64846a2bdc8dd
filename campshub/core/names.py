"""Names: the characters that they may contain, and the key by which they are searched and sorted.

The key ignores case, width and, in Latin script, accents and special letters: ``los`` finds Łoś, ``aesir`` finds Æsir.
In other scripts the key keeps combining marks, because they make other letters: й is not и.
"""

import re
import unicodedata
from functools import lru_cache
from typing import Any

from anyascii import anyascii
from sqlalchemy import ARRAY, ColumnElement, Text, all_, func

# Word separators: punctuation, symbols, spaces. `\w` does not work: it excludes the vowel signs of many scripts.
_SIGNS = "".join(sign for sign in map(chr, range(0x3100)) if unicodedata.category(sign)[0] in "PSZ")
_BETWEEN_WORDS = re.compile(f"[{re.escape(_SIGNS)}]+")
_APOSTROPHES = str.maketrans("\u2018\u2019\u02bc\u02bb\u2032", "'" * 5)
# Letters and a symbol that fonts render as blank.
_FILLERS = frozenset("\u115f\u1160\u2800\u3164\uffa0")
# Invisible characters, trimmed from a name. (Not joiners: in Malayalam a word can end with one.)
_AROUND = "\u200b\u2060\ufeff"
# Lists are sorted by this number of letters of the key; cursors contain them, with up to four bytes each.
SORTED_LETTERS = 150

# One line: no control characters, and none that embed, isolate or override the writing direction, which could make a
# text look like another one. Joiners (U+200C, U+200D), which Persian and Indic scripts need, and direction marks are
# allowed.
ONE_LINE = r"^[^\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]*$"
_ONE_LINE = re.compile(ONE_LINE)


def trimmed(text: str) -> str:
    """Return a text without leading and trailing spaces, visible or invisible."""
    while (shorter := text.strip().strip(_AROUND)) != text:
        text = shorter
    return text


def is_one_line(text: str) -> bool:
    """Return whether a text has no control characters and does not change the direction of the text around it."""
    return _ONE_LINE.fullmatch(text) is not None


def has_no_invisible(text: str) -> bool:
    """Return whether a text is free of control, formatting and other characters that cannot be seen."""
    return all(unicodedata.category(sign)[0] not in "CZ" and sign not in _FILLERS for sign in text)


def is_visible(text: str) -> bool:
    """Return whether a text has a visible letter, digit, punctuation mark or symbol."""
    return any(unicodedata.category(sign)[0] in "LNPS" and sign not in _FILLERS for sign in text)


def folded(*parts: str | None) -> str:
    """Return the search key of a name's parts, with one space between words."""
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
    """Return the sort key: the beginning of the search key. Names with the same beginning are sorted by id."""
    return folded(*parts)[:SORTED_LETTERS]


def words(*parts: str | None) -> list[str]:
    """Return the words of the key, split at spaces, hyphens, apostrophes and other separators."""
    return _BETWEEN_WORDS.sub(" ", folded(*parts)).split()


def containing(text: str) -> str:
    """Return the LIKE pattern of the keys that contain a text."""
    return f"%{_escaped(folded(text))}%"


def patterns(text: str | None) -> str | None:
    """Return one LIKE pattern for each word of a text, separated by spaces; None if there is no word."""
    return " ".join(map(containing, folded(text).split())) or None


def starts(text: str) -> str:
    """Return one pattern per line for each word of a text, the longest first: a word of the key begins with it."""
    found = sorted(words(text) or [folded(text)], key=len, reverse=True)
    return "\n".join(f"% {_escaped(word)}%" for word in found)


def _escaped(text: str) -> str:
    return re.sub(r"([\\%_])", r"\\\1", text)


@lru_cache(maxsize=4096)
def _is_latin(letter: str) -> bool:
    return letter.isascii() or unicodedata.name(letter, "").startswith("LATIN ")


@lru_cache(maxsize=4096)
def _plain(letter: str) -> str:
    """Transliterate a Latin letter to ASCII, by the table of ``anyascii``."""
    return letter if letter.isascii() else anyascii(letter).lower()


def has_words(column: Any, patterns: Any) -> ColumnElement[bool]:
    """Return the condition that a text matches each of the patterns, separated by spaces (``patterns``)."""
    condition: ColumnElement[bool] = column.like(all_(func.string_to_array(patterns, " ", type_=ARRAY(Text))))
    return condition
