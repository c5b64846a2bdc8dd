"""The sort, search and comparison keys of students, guardians and groups."""

import re
import unicodedata

from campshub.core.names import folded, sort_key, words
from campshub.core.normalization import email_key

# Kana, Chinese characters, Hangul: names written with the family name first and without a space.
_WITHOUT_SPACES = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\U00020000-\U0003ffff]+")


def sort_name(given_name: str, family_name: str) -> str:
    """Return the sort key of a name, family name first."""
    return sort_key(family_name, given_name)


def search_text(code: str, given_name: str, family_name: str, preferred_name: str | None) -> str:
    """Return the search key: the code and each word of the names, with a blank before each.

    For names without spaces, family name and given name are also included as one word.
    """
    found = [folded(code), *words(given_name, family_name, preferred_name)]
    if _WITHOUT_SPACES.fullmatch(given_name) and _WITHOUT_SPACES.fullmatch(family_name):
        found += words(family_name + given_name)
    return " " + " ".join(found)


def group_keys(code: str, name: str) -> dict[str, str]:
    """Return the sort and search keys of a group."""
    return {"sort_name": sort_key(name), "search_text": folded(code, name)}


def full_name(given_name: str, family_name: str) -> str:
    """Return the display name; one of the two names may be empty."""
    return f"{given_name} {family_name}".strip()


def guardian_keys(name: str, phone: str | None, email: str | None) -> dict[str, str | None]:
    """Return the sort and search keys of a guardian, and those that decide whether two guardians are one person."""
    return {
        "sort_name": sort_key(name),
        "search_text": " " + " ".join(words(name)),
        "phone_key": phone_key(phone) if phone else None,
        "email_key": email_key(email) if email else None,
    }


def phone_key(phone: str) -> str:
    """Return a phone number as it is compared: its digits, without the international prefix (+ or 00).

    A text without digits is compared as it is.
    """
    digits = "".join(str(unicodedata.decimal(sign)) for sign in phone if sign.isdecimal())
    return digits.removeprefix("00") or digits or folded(phone)
