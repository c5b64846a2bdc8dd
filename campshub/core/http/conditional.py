"""ETag, If-None-Match and If-Match: unchanged answers cost nothing, and a change meets what its author saw."""

import hashlib
import re

from campshub.core.db.writes import Versions
from campshub.core.errors import Invalid

# What RFC 9110 calls an entity tag, those of this API, and a list of any: empty elements are allowed (section 5.6.1).
_ANY_TAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')
_OWN_TAG = re.compile(r'(?:W/)?"(\d{1,10})(?:-[^"]*)?"')
_LIST = re.compile(rf"[ \t,]*{_ANY_TAG.pattern}(?:[ \t]*,[ \t,]*{_ANY_TAG.pattern})*[ \t,]*")


def etag(version: int, shown: bytes) -> str:
    """Return the ETag ``"<version>-<variant>"``.

    The variant stands for the bytes: callers are shown different fields, and an answer may show more than the row whose
    version it carries (``/api/me/`` names the user's organizations).
    """
    return f'"{version}-{hashlib.sha256(shown).hexdigest()[:12]}"'


def etag_of_page(shown: bytes) -> str:
    """Return the ETag of a page, or of figures, which have no version of their own: it stands for the bytes."""
    return f'"{hashlib.sha256(shown).hexdigest()[:18]}"'


def matches(header: str | None, tag: str) -> bool:
    """Tell whether If-None-Match names the tag; weak comparison (RFC 9110, 13.1.2)."""
    if not header:
        return False
    plain = tag.removeprefix("W/")
    return header.strip() == "*" or plain in (part.strip().removeprefix("W/") for part in header.split(","))


def expected_versions(header: str | None) -> Versions:
    """Return the versions that If-Match names; one of them must be the present one (RFC 9110, 13.1.1).

    The weak form counts too: compression on the way makes a strong tag weak, and versions compare all the same. Tags of
    others match nothing.

    :raises Invalid: it is no list of tags, or none of them is ours.
    """
    if header is None or header.strip() == "*":
        return None
    named = _OWN_TAG.findall(header) if _LIST.fullmatch(header) else []
    if not named:
        raise Invalid("If-Match takes ETags as this API gives them, with commas between, or *.")
    return frozenset(map(int, named))
