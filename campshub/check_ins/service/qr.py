"""The rotating QR code of a session: signed, bound to organization and session, valid for 30 seconds."""

import base64
import io
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import segno

from campshub.attendance.queries import sessions as session_reads
from campshub.check_ins.service.refusals import (
    ForeignNetwork,
    QrExpired,
    QrInvalid,
    QrOtherOrganization,
    SessionClosed,
)
from campshub.core.db.session import Session
from campshub.core.security.principal import Principal
from campshub.core.security.signing import SigningKeys
from campshub.core.service_base import Services
from campshub.core.threads import run_in_thread

VALID_FOR = timedelta(seconds=30)
# A code that was scanned in its last moment arrives a little later.
LEEWAY = timedelta(seconds=2)
# A screen gets a new code three times as often as codes expire, so that a code is never shown in its last moments.
STEP_S = REFRESH_AFTER_S = 10
# Servers' clocks differ a little: a code may come from a server that is ahead.
_CLOCKS_DIFFER = timedelta(seconds=2)
_USE = "session qr codes"
_PARTS = 4


@dataclass(frozen=True)
class QrCode:
    """The content of a genuine code."""

    session_id: UUID
    issued_at: datetime


def show(
    session: Session, principal: Principal, services: Services, *, session_id: UUID, picture: str | None, now: datetime
) -> dict[str, Any]:
    """Return the current code of a session.

    :raises NotFound: the principal sees no such session.
    :raises SessionClosed: it accepts no check-ins.
    """
    meeting = session_reads.get_session(session, principal, session_id)
    if meeting.status not in ("scheduled", "open"):
        raise SessionClosed
    # In steps, so that the screens of a session show the same code.
    seconds = int(now.timestamp())
    issued_at = datetime.fromtimestamp(seconds - seconds % STEP_S, UTC)
    code = _written(services, principal.organization_id, session_id, issued_at)
    shown: dict[str, Any] = {"session_id": session_id, "code": code, "svg": None, "png": None}
    if picture is not None:
        shown[picture] = run_in_thread(_picture, code, picture)
    return {**shown, "issued_at": issued_at, "expires_at": issued_at + VALID_FOR, "refresh_after_s": REFRESH_AFTER_S}


def read_code(services: Services, principal: Principal, text: str) -> QrCode:
    """Return the content of a code; its age is checked separately, because a repeated event may be older.

    :raises QrInvalid: this server has not issued it.
    :raises QrOtherOrganization: it is of another organization.
    """
    parts = text.split(".", _PARTS - 1)
    if len(parts) != _PARTS:
        raise QrInvalid
    organization, meeting, issued, signature = parts
    genuine = SigningKeys(services.file_keys, use=_USE).verify(signature, f"{organization}.{meeting}.{issued}".encode())
    if not genuine:
        raise QrInvalid
    if organization != principal.organization_id.hex:
        raise QrOtherOrganization
    return QrCode(UUID(hex=meeting), datetime.fromtimestamp(int(issued), UTC))


def require_current(code: QrCode, now: datetime) -> None:
    """Refuse a code that is not shown any more.

    :raises QrExpired: it is older than 30 seconds and the leeway for the network.
    """
    if not -_CLOCKS_DIFFER <= now - code.issued_at <= VALID_FOR + LEEWAY:
        raise QrExpired


def require_network(networks: Sequence[str], address: str | None) -> None:
    """Refuse an address outside of the organization's networks, if it has set any.

    :raises ForeignNetwork: the reason.
    """
    if not networks:
        return
    try:
        found: Any = ipaddress.ip_address(address or "")
    except ValueError as error:
        raise ForeignNetwork from error
    found = getattr(found, "ipv4_mapped", None) or found
    if not any(found in ipaddress.ip_network(network) for network in networks):
        raise ForeignNetwork


def _written(services: Services, organization_id: UUID, session_id: UUID, issued_at: datetime) -> str:
    content = f"{organization_id.hex}.{session_id.hex}.{int(issued_at.timestamp())}"
    return f"{content}.{SigningKeys(services.file_keys, use=_USE).sign(content.encode())}"


def _picture(code: str, kind: str) -> str:
    """Return the code as SVG text, or as PNG in base64."""
    drawn, file = segno.make(code, error="m"), io.BytesIO()
    drawn.save(file, kind=kind, scale=4, **({"xmldecl": False} if kind == "svg" else {}))
    return file.getvalue().decode() if kind == "svg" else base64.b64encode(file.getvalue()).decode()
