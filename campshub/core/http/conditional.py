"""ETag, If-None-Match and If-Match: unchanged answers cost nothing, and a change meets what its author saw."""

import hashlib
import re
from typing import Any

from campshub.core.http.problems import Invalid, PreconditionFailed

_TAG = re.compile(r'(?:W/)?"(\d{1,10})(?:-[^"]*)?"')


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


def expected_version(header: str | None) -> int | None:
    """Return the version that If-Match asks for.

    The weak form counts too: compression on the way makes a strong tag weak, and versions compare all the same.

    :raises Invalid: it is not one of our tags.
    """
    if header is None or header.strip() == "*":
        return None
    found = _TAG.fullmatch(header.strip())
    if not found:
        raise Invalid("If-Match takes one ETag as this API gives it.")
    return int(found[1])


def require_version(entity: Any, expected: int | None) -> None:
    """Refuse a change to what is not as its author saw it.

    :raises PreconditionFailed: the row has another version.
    """
    if expected is not None and entity.version != expected:
        raise PreconditionFailed
