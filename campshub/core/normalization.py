"""E-mail addresses and one-time codes in one form, wherever a person types or pastes them."""

import unicodedata

# Dashes of any length, and characters that show nothing, which come along when a code is copied.
_IGNORED = frozenset({"Pd", "Cf"})
_MINUS = "\N{MINUS SIGN}"


def clean_email(text: str) -> str:
    """Return an address as it is stored and written to: without blanks around it, composed (NFC)."""
    return unicodedata.normalize("NFC", text.strip())


def email_key(text: str) -> str:
    """Return an address as it is compared: whatever its case, and however its letters are composed.

    Lower case, not case folding, which makes one address of two: straße.de and strasse.de have different owners.
    """
    decomposed = unicodedata.normalize("NFD", clean_email(text))
    return unicodedata.normalize("NFC", decomposed.lower())


def code_of(text: str) -> str:
    """Return a one-time or recovery code in one form: no blanks or dashes, ASCII digits, capital letters."""
    plain = unicodedata.normalize("NFKC", text)
    written = (c for c in plain if not c.isspace() and c != _MINUS and unicodedata.category(c) not in _IGNORED)
    return "".join(str(unicodedata.decimal(c)) if c.isdecimal() else c.upper() for c in written)
