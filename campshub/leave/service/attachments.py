"""Attachments of leave requests: one small file each, encrypted in the storage, and fetched by a signed link."""

import base64
import binascii
import hashlib
import re
from datetime import UTC, date, datetime, timedelta
from http import HTTPStatus
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

from itsdangerous import BadData, URLSafeSerializer
from sqlalchemy import select

from campshub.core.db.models import new_id
from campshub.core.db.session import Session
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.db.writes import Versions, lock
from campshub.core.errors import Invalid, NotFound, Problem
from campshub.core.http.responses import Download
from campshub.core.jobs.registry import Run
from campshub.core.jobs.store import enqueue
from campshub.core.security.authorization import granted
from campshub.core.security.crypto import DecryptionFailed
from campshub.core.security.permissions import Permission
from campshub.core.security.principal import Principal, visible_to
from campshub.core.security.stream_encryption import DecryptingReader, EncryptingWriter, FileIdentity
from campshub.core.service_base import Services
from campshub.core.storage import path_of
from campshub.leave.models import LeaveRequest
from campshub.leave.service.requests import REQUESTS, LeaveDecided

MOST_BYTES = 5 * 1024 * 1024
# Attachments are removed so many days after the last day of the leave.
STORED_DAYS = 180
MOST_AT_ONCE = 500
MEDIA_TYPES = {b"%PDF-": "application/pdf", b"\xff\xd8\xff": "image/jpeg", b"\x89PNG\r\n\x1a\n": "image/png"}
# The name that staff save the file under has the suffix of what it is: a PDF named ``note.hta`` would run as a program.
SUFFIXES = {"application/pdf": ".pdf", "image/jpeg": ".jpg", "image/png": ".png"}
_FOLDER = "leave"
_ID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SALT = "leave attachments"  # a token of another purpose is not valid here


class UnsupportedAttachment(Invalid):
    """The file is neither a PDF nor a JPEG or PNG image."""

    code = "unsupported_attachment"
    default_detail = "The file is neither a PDF nor a JPEG or PNG image."
    pointer = "/content"


class AttachmentTooLarge(Invalid):
    """The file has more than 5 MiB."""

    code = "attachment_too_large"
    default_detail = "The file has more than 5 MiB."
    pointer = "/content"


class AttachmentGone(Problem):
    """The link has expired, or the attachment was replaced or removed."""

    status = HTTPStatus.GONE
    code = "link_expired"
    default_detail = "The link has expired, or the attachment was replaced or removed."


def attach(
    session: Session,
    principal: Principal,
    services: Services,
    *,
    leave_request_id: UUID,
    expected: Versions,
    name: str,
    content: str,
) -> LeaveRequest:
    """Store the attachment of a request that is pending or approved; it replaces an earlier one.

    :raises NotFound: the principal sees no such request.
    :raises LeaveDecided: the request is rejected or cancelled.
    :raises UnsupportedAttachment, AttachmentTooLarge: the file is not accepted.
    """
    data = _decoded(content)
    media_type = next((kind for start, kind in MEDIA_TYPES.items() if data.startswith(start)), None)
    if media_type is None:
        raise UnsupportedAttachment
    request = lock(session, principal, LeaveRequest, leave_request_id, expected=expected)
    if request.status in ("rejected", "cancelled"):
        raise REQUESTS.conflict(LeaveDecided, request)
    file = f"file-{new_id().hex}"
    with (
        services.storage.open_write(path_of(principal.organization_id, _FOLDER, leave_request_id, file)) as raw,
        EncryptingWriter(raw, services.file_keys, _identity(principal.organization_id, leave_request_id, file)) as out,
    ):
        out.write(data)
    request.attachment, request.attachment_name = file, f"{PurePosixPath(name).stem}{SUFFIXES[media_type]}"
    request.attachment_type, request.attachment_bytes = media_type, len(data)
    session.flush()
    enqueue(session, "leave.sweep", leave_request_id=str(leave_request_id))
    return request


def _decoded(content: str) -> bytes:
    """Return the bytes of a file.

    :raises Invalid: it is no Base64.
    :raises AttachmentTooLarge: it has more than ``MOST_BYTES``.
    """
    try:
        data = base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Invalid.at("/content", "invalid", "Must be Base64 (RFC 4648, with padding).") from error
    if len(data) > MOST_BYTES:
        raise AttachmentTooLarge
    return data


def detach(session: Session, principal: Principal, *, leave_request_id: UUID, expected: Versions) -> None:
    """Remove the attachment of a request, if it has one.

    :raises NotFound: the principal sees no such request.
    """
    request = lock(session, principal, LeaveRequest, leave_request_id, expected=expected)
    _forget(session, request)


def _forget(session: Session, request: LeaveRequest) -> None:
    request.attachment, request.attachment_name = None, None
    request.attachment_type, request.attachment_bytes = None, None
    session.flush()
    enqueue(session, "leave.sweep", leave_request_id=str(request.id))


def link_to(
    session: Session, principal: Principal, services: Services, *, leave_request_id: UUID, now: datetime
) -> dict[str, Any]:
    """Return a short-lived link to the attachment of a request, for this user.

    :raises NotFound: the principal sees no such request, or it has no attachment.
    """
    request = _readable(session, principal, leave_request_id)
    until = now + timedelta(minutes=services.settings.report_link_minutes)
    content = [principal.organization_id.hex, principal.user_id.hex, request.attachment, int(until.timestamp())]
    token = _signer(services).dumps(content)
    return {
        "url": f"/api/attendance/leave-requests/{leave_request_id}/attachment/file/?token={token}",
        "expires_at": until,
        "name": request.attachment_name,
        "media_type": request.attachment_type,
        "bytes": request.attachment_bytes,
    }


def fetch(session: Session, services: Services, *, leave_request_id: UUID, token: str, now: datetime) -> Download:
    """Return an attachment, if the link's user may still see its request.

    :raises NotFound: the signature is not ours, or the user may not see the request any more.
    :raises AttachmentGone: the link has expired, or the attachment was replaced or removed.
    """
    try:
        organization, user, file, at = _signer(services).loads(token)
    except (BadData, UnicodeError) as error:
        raise NotFound from error
    organization_id, user_id = UUID(organization), UUID(user)
    caller = session.enter(organization_id, user_id)
    if caller.role is None or caller.organization_status != "active":
        raise NotFound
    zone = caller.time_zone or "UTC"
    principal = Principal(user_id, organization_id, caller.role, zone, own_grant=granted(caller))
    if not principal.may(Permission.LEAVE_READ):
        raise NotFound
    request = _readable(session, principal, leave_request_id)
    if datetime.fromtimestamp(at, UTC) <= now or request.attachment != file:
        raise AttachmentGone
    path = path_of(organization_id, _FOLDER, leave_request_id, file)
    try:
        raw = services.storage.open_read(path)
        opened = DecryptingReader(raw, services.file_keys, _identity(organization_id, leave_request_id, file))
        return Download(opened, request.attachment_type, request.attachment_name, request.attachment_bytes)
    except (FileNotFoundError, DecryptionFailed) as error:
        raise AttachmentGone from error


def _readable(session: Session, principal: Principal, leave_request_id: UUID) -> Any:
    """Return a request's attachment.

    :raises NotFound: the principal sees no such request, or it has none.
    """
    one = LeaveRequest
    row = session.execute(
        select(one.attachment, one.attachment_name, one.attachment_type, one.attachment_bytes).where(
            visible_to(principal, one), one.id == leave_request_id, one.attachment.is_not(None)
        )
    ).one_or_none()
    if row is None:
        raise NotFound
    return row


def _identity(organization_id: UUID, leave_request_id: UUID, file: str) -> FileIdentity:
    """Return the identity of an attachment, to which its encryption is bound."""
    return FileIdentity(organization_id, "leave", f"{leave_request_id}/{file}")


def _signer(services: Services) -> URLSafeSerializer:
    options = {"key_derivation": "hmac", "digest_method": hashlib.sha256}
    return URLSafeSerializer(services.settings.secret_key, salt=_SALT, signer_kwargs=options)


def sweep(run: Run, leave_request_id: UUID) -> None:
    """Delete the files of a request in the storage, except its current attachment."""
    with unit_of_work(organization_id=run.organization_id, read_only=True) as session:
        own = LeaveRequest.organization_id == run.organization_id
        current = session.scalar(select(LeaveRequest.attachment).where(own, LeaveRequest.id == leave_request_id))
    folder = path_of(run.organization_id, _FOLDER, leave_request_id)
    for name in run.services.storage.folder(folder):
        if name != current:
            run.services.storage.delete(f"{folder}/{name}")


def expire(today: date) -> int:
    """Remove the attachments of leave that has been over for ``STORED_DAYS``; return how many."""
    one, removed = LeaveRequest, 0
    with unit_of_work(system=True, read_only=True) as session:
        before = today - timedelta(days=STORED_DAYS)
        due = select(one.organization_id, one.id).where(one.attachment.is_not(None), one.last_date < before)
        rows = session.execute(due.order_by(one.organization_id, one.id).limit(MOST_AT_ONCE)).all()
    for organization_id in dict.fromkeys(row.organization_id for row in rows):
        ids = [row.id for row in rows if row.organization_id == organization_id]
        with unit_of_work(organization_id=organization_id) as session:
            own = (one.organization_id == organization_id, one.id.in_(ids), one.attachment.is_not(None))
            for request in session.scalars(select(one).where(*own).order_by(one.id).with_for_update()):
                _forget(session, request)
                removed += 1
    return removed


def sweep_orphans(services: Services) -> None:
    """Delete the files of requests without an attachment, such as those of requests that failed or were erased."""
    for name in filter(_ID.fullmatch, services.storage.folder("")):
        folders = [one for one in services.storage.folder(f"{name}/{_FOLDER}") if _ID.fullmatch(one)]
        if not folders:
            continue
        organization_id = UUID(name)
        with unit_of_work(system=True, read_only=True, organization_id=organization_id) as session:
            own = (LeaveRequest.organization_id == organization_id, LeaveRequest.attachment.is_not(None))
            present = {str(one) for one in session.scalars(select(LeaveRequest.id).where(*own))}
        for folder in folders:
            if folder not in present:
                services.storage.delete_folder(path_of(organization_id, _FOLDER, folder))
