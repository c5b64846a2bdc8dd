"""Signed links: who may fetch which report's file, until when. What they name is checked again when they are used."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from itsdangerous import BadData, URLSafeSerializer

# Each purpose has its salt, so no link serves for the other one.
_SHOWN, _EMAILED = "report links", "report links in e-mails"
_SIGNER = {"key_derivation": "hmac", "digest_method": hashlib.sha256}


class NotOurs(Exception):
    """The server has not signed this link, or it was changed."""


@dataclass(frozen=True)
class Link:
    """What a link names."""

    organization_id: UUID
    report_id: UUID
    user_id: UUID
    expires_at: datetime
    # Of an e-mailed link: what its recipient saw when it was sent (``AccessSnapshot.digest``).
    standing: bytes | None = None

    @property
    def is_emailed(self) -> bool:
        """Whether it was sent to a recipient; else it was shown with the report."""
        return self.standing is not None


def sign(secret: str, link: Link) -> str:
    """Return the token of a link."""
    content = [link.organization_id.hex, link.report_id.hex, link.user_id.hex, int(link.expires_at.timestamp())]
    if link.standing is None:
        return str(_serializer(secret, _SHOWN).dumps(content))
    return str(_serializer(secret, _EMAILED).dumps([*content, link.standing.hex()]))


def read(secret: str, token: str) -> Link:
    """Return what a token names.

    :raises NotOurs: the server has not signed it.
    """
    for purpose in (_SHOWN, _EMAILED):
        try:
            organization, report, user, at, *standing = _serializer(secret, purpose).loads(token)
        except (BadData, UnicodeError):
            continue
        return Link(
            organization_id=UUID(organization),
            report_id=UUID(report),
            user_id=UUID(user),
            expires_at=datetime.fromtimestamp(at, UTC),
            standing=bytes.fromhex(standing[0]) if standing else None,
        )
    raise NotOurs


def _serializer(secret: str, purpose: str) -> URLSafeSerializer:
    return URLSafeSerializer(secret, salt=purpose, signer_kwargs=_SIGNER)
