"""Signed links: user, report and expiry. Using a link checks again that the user may read the report."""

from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from campshub.core.security import signed_links
from campshub.core.security.signed_links import InvalidLink

_SHOWN, _EMAILED = "report links", "report links in e-mails"


@dataclass(frozen=True)
class Link:
    """The content of a link."""

    organization_id: UUID
    report_id: UUID
    user_id: UUID
    expires_at: datetime
    # Only in e-mailed links: what the recipient saw when it was sent (``AccessSnapshot.digest``).
    access_digest: bytes | None = None

    @property
    def is_emailed(self) -> bool:
        """Whether it was e-mailed to a recipient, rather than shown with the report."""
        return self.access_digest is not None


def sign(secret: str, link: Link) -> str:
    """Return the token of a link."""
    content = [link.organization_id.hex, link.report_id.hex, link.user_id.hex, int(link.expires_at.timestamp())]
    if link.access_digest is None:
        return signed_links.sign(secret, _SHOWN, content)
    return signed_links.sign(secret, _EMAILED, [*content, link.access_digest.hex()])


def read(secret: str, token: str) -> Link:
    """Return the content of a token.

    :raises InvalidLink: the server has not signed it.
    """
    for purpose in (_SHOWN, _EMAILED):
        try:
            organization, report, user, at, *digest = signed_links.read(secret, purpose, token)
        except InvalidLink:
            continue
        return Link(
            organization_id=UUID(organization),
            report_id=UUID(report),
            user_id=UUID(user),
            expires_at=datetime.fromtimestamp(at, UTC),
            access_digest=bytes.fromhex(digest[0]) if digest else None,
        )
    raise InvalidLink
