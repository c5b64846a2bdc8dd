"""Names as they are ordered and searched: folded, so that case and accents make no difference."""

import unicodedata


def folded(*parts: str | None) -> str:
    """Return the parts with spaces between, in lower case and without accents."""
    joined = unicodedata.normalize("NFKD", " ".join(part for part in parts if part))
    plain = "".join(letter for letter in joined if not unicodedata.combining(letter))
    return " ".join(plain.casefold().split())


def sort_name(given_name: str, family_name: str) -> str:
    """Return what lists are ordered by: the family name first."""
    return folded(family_name, given_name)


def search_text(code: str, given_name: str, family_name: str, preferred_name: str | None) -> str:
    """Return what the search looks at: the code and all names."""
    return folded(code, given_name, family_name, preferred_name)
