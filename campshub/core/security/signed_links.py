"""Signed links: a list of values that only this server can have written, for one purpose."""

import hashlib
from http import HTTPStatus
from typing import Any

from itsdangerous import BadData, URLSafeSerializer

from campshub.core.errors import Problem

_SIGNER = {"key_derivation": "hmac", "digest_method": hashlib.sha256}


class InvalidLink(Exception):
    """The server has not signed this token for this purpose, or it was changed."""


class LinkExpired(Problem):
    """The link has expired; request a new one."""

    status = HTTPStatus.GONE
    code = "link_expired"
    default_detail = "The link has expired; request a new one."


def sign(secret: str, purpose: str, content: list[Any]) -> str:
    """Return the token of a list of JSON values."""
    return str(_serializer(secret, purpose).dumps(content))


def read(secret: str, purpose: str, token: str) -> list[Any]:
    """Return the content of a token.

    :raises InvalidLink: the server has not signed it for this purpose.
    """
    try:
        found: list[Any] = _serializer(secret, purpose).loads(token)
    except (BadData, UnicodeError) as error:
        raise InvalidLink from error
    return found


def _serializer(secret: str, purpose: str) -> URLSafeSerializer:
    """Return the signer of a purpose: a token of one purpose is not valid for another."""
    return URLSafeSerializer(secret, salt=purpose, signer_kwargs=_SIGNER)
