"""Signed links: who may fetch which report's file, until when. What they name is checked again when they are used."""

import base64
import binascii
import hmac
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from campshub.core.security.opaque import ID_BYTES, MAC_BYTES
from campshub.reports.standing import DIGEST_BYTES

_TIME_BYTES = 8
_NO_LETTER = bytes(DIGEST_BYTES)
_PAYLOAD_BYTES = 3 * ID_BYTES + _TIME_BYTES + DIGEST_BYTES


class NotOurs(Exception):
    """The link is not of our making, or has been changed."""


@dataclass(frozen=True)
class Link:
    """What a link names."""

    organization_id: UUID
    report_id: UUID
    user_id: UUID
    expires_at: datetime
    # Of a letter's link: how far its reader saw when it was sent (``Standing.digest``).
    standing: bytes = _NO_LETTER

    @property
    def is_letter(self) -> bool:
        """Whether it was sent to a recipient, rather than shown to who sees the report."""
        return self.standing != _NO_LETTER


def sign(secret: str, link: Link) -> str:
    """Return the token of a link."""
    at = int(link.expires_at.timestamp()).to_bytes(_TIME_BYTES, "big")
    payload = link.organization_id.bytes + link.report_id.bytes + link.user_id.bytes + at + link.standing
    return base64.urlsafe_b64encode(payload + _mac(secret, payload)).rstrip(b"=").decode()


def read(secret: str, token: str) -> Link:
    """Return what a token of ours names.

    :raises NotOurs: it is not of our making.
    """
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise NotOurs from error
    payload, mac = raw[:-MAC_BYTES], raw[-MAC_BYTES:]
    if len(payload) != _PAYLOAD_BYTES or not hmac.compare_digest(mac, _mac(secret, payload)):
        raise NotOurs
    organization, report, user = (UUID(bytes=payload[at : at + ID_BYTES]) for at in range(0, 3 * ID_BYTES, ID_BYTES))
    at, standing = payload[3 * ID_BYTES : -DIGEST_BYTES], payload[-DIGEST_BYTES:]
    return Link(organization, report, user, datetime.fromtimestamp(int.from_bytes(at, "big"), UTC), standing)


def _mac(secret: str, payload: bytes) -> bytes:
    key = hmac.digest(secret.encode(), b"report links", "sha256")
    return hmac.digest(key, payload, "sha256")
