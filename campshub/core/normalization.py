"""Normalize email addresses and one-time codes that a person types or pastes."""

import unicodedata

# Unicode categories of dashes and of invisible characters, which are often copied with a code.
_IGNORED = frozenset({"Pd", "Cf"})
_MINUS = "\N{MINUS SIGN}"


def clean_email(text: str) -> str:
    """Return an address as it is stored and used for sending: trimmed, in NFC."""
    return unicodedata.normalize("NFC", text.strip())


def email_key(text: str) -> str:
    """Return an address as it is compared: in lower case, in NFC.

    Case folding would make two addresses equal: straße.de and strasse.de have different owners.
    """
    decomposed = unicodedata.normalize("NFD", clean_email(text))
    return unicodedata.normalize("NFC", decomposed.lower())


def code_of(text: str) -> str:
    """Normalize a one-time or recovery code: no spaces or dashes, ASCII digits, capital letters."""
    plain = unicodedata.normalize("NFKC", text)
    significant = (c for c in plain if not c.isspace() and c != _MINUS and unicodedata.category(c) not in _IGNORED)
    return "".join(str(unicodedata.decimal(c)) if c.isdecimal() else c.upper() for c in significant)
