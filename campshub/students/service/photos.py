"""Set, delete and send photos of students.

The files are written under a new id before the transaction that records it, and deleted by a job after the transaction
that records another one. ``sweep_orphans`` deletes the files of transactions that failed.
"""

import base64
import binascii
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from gevent.lock import BoundedSemaphore
from sqlalchemy import select

from campshub.core.db.models import new_id
from campshub.core.db.session import Session
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.db.writes import Versions, lock
from campshub.core.errors import Invalid, NotFound
from campshub.core.http.responses import Download
from campshub.core.jobs.store import enqueue
from campshub.core.security import signed_links
from campshub.core.security.authorization import NoPrincipal, principal_of
from campshub.core.security.crypto import DecryptionFailed
from campshub.core.security.permissions import Permission
from campshub.core.security.principal import Principal
from campshub.core.security.stream_encryption import DecryptingReader, EncryptingWriter, FileIdentity
from campshub.core.service_base import Services
from campshub.core.storage import path_of
from campshub.core.threads import run_in_thread
from campshub.students import photos
from campshub.students.models import Student
from campshub.students.queries import students as reads

LINK_VALID = timedelta(minutes=60)
# Files that no student names are kept for this time: the transaction that will name them may not have committed yet.
ORPHAN_AGE = timedelta(days=1)
_PURPOSE = "student photos"
# Decoding needs up to 150 MB, so a process decodes one image at a time.
_decoding = BoundedSemaphore(1)
_NAME = re.compile("([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})-[a-z]+")
_TENANT = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class NotBase64(Invalid):
    """The image is not encoded in base64."""

    code = "not_base64"
    default_detail = "The image is not encoded in base64."
    pointer = "/image"


@dataclass(frozen=True)
class PhotoLink:
    """The content of a link to one size of a photo."""

    organization_id: UUID
    user_id: UUID
    student_id: UUID
    photo_id: UUID
    size: str
    expires_at: datetime

    def url(self, services: Services) -> str:
        """Return the URL path of the file."""
        ids = [one.hex for one in (self.organization_id, self.user_id, self.student_id, self.photo_id)]
        content = [*ids, self.size, int(self.expires_at.timestamp())]
        token = signed_links.sign(services.settings.secret_key, _PURPOSE, content)
        return f"/api/students/{self.student_id}/photo/file/?token={token}"

    @classmethod
    def read(cls, services: Services, token: str) -> "PhotoLink":
        """Return the content of a token.

        :raises InvalidLink: the server has not signed it.
        """
        *ids, size, at = signed_links.read(services.settings.secret_key, _PURPOSE, token)
        organization_id, user_id, student_id, photo_id = map(UUID, ids)
        return cls(organization_id, user_id, student_id, photo_id, size, datetime.fromtimestamp(at, UTC))


def set_photo(
    session: Session, principal: Principal, services: Services, *, student_id: UUID, expected: Versions, image: str
) -> Student:
    """Set the photo of a student, in all sizes.

    :raises NotFound: the principal sees no such student.
    :raises PreconditionFailed: the student has changed since the caller read them.
    :raises NotBase64: the image is not encoded in base64.
    :raises UnfitPhoto: it is too large, of another format, damaged, or has too many pixels.
    """
    reads.require_student(session, principal, student_id)
    session.release()  # decoding and storing take long
    data = _decoded(image)
    with _decoding:
        files = run_in_thread(photos.rendered, data)
    photo_id = new_id()
    try:
        _store(services, principal.organization_id, photo_id, files)
        student = lock(session, principal, Student, student_id, Student.deleted_at.is_(None), expected=expected)
    except BaseException:
        remove(services, principal.organization_id, photo_id)
        raise
    _replace(session, student, photo_id)
    return student


def delete_photo(session: Session, principal: Principal, *, student_id: UUID, expected: Versions) -> None:
    """Delete the photo of a student; this does nothing if there is none.

    :raises NotFound: the principal sees no such student.
    :raises PreconditionFailed: the student has changed since the caller read them.
    """
    student = lock(session, principal, Student, student_id, Student.deleted_at.is_(None), expected=expected)
    _replace(session, student, None)


def links_of(
    session: Session, principal: Principal, services: Services, student_id: UUID, *, now: datetime
) -> dict[str, Any]:
    """Return the links to a student's photo; without a photo, only the student's id.

    :raises NotFound: the principal sees no such student.
    """
    photo_id = reads.photo_of(session, principal, student_id)
    shown: dict[str, Any] = {"student_id": student_id, "photo_id": photo_id, "expires_at": None}
    if photo_id is None:
        return {**shown, **{f"{size}_url": None for size in photos.SIZES}}
    expires_at = (now + LINK_VALID).replace(microsecond=0)
    own = (principal.organization_id, principal.user_id, student_id, photo_id)
    links = {f"{size}_url": PhotoLink(*own, size, expires_at).url(services) for size in photos.SIZES}
    return {**shown, "expires_at": expires_at, **links}


def fetch(session: Session, services: Services, *, student_id: UUID, token: str, now: datetime) -> Download:
    """Return one size of a photo.

    :raises NotFound: the signature is not ours, or the link's user may not see the student any more.
    :raises LinkExpired: the link has expired, or the student has another photo.
    """
    try:
        link = PhotoLink.read(services, token)
    except (signed_links.InvalidLink, ValueError) as error:
        raise NotFound from error
    if link.student_id != student_id:
        raise NotFound
    if link.expires_at <= now:
        raise signed_links.LinkExpired
    caller_row = session.enter(link.organization_id, link.user_id)
    try:
        principal = principal_of(caller_row, link.organization_id, link.user_id)
    except NoPrincipal as error:
        raise NotFound from error
    if not principal.may(Permission.STUDENTS_READ):
        raise NotFound
    if reads.photo_of(session, principal, student_id) != link.photo_id:
        raise signed_links.LinkExpired
    try:
        raw = services.storage.open_read(_path(link.organization_id, link.photo_id, link.size))
        opened = DecryptingReader(raw, services.file_keys, _identity(link.organization_id, link.photo_id, link.size))
        return Download(opened, photos.MEDIA_TYPE, f"photo-{link.size}.jpg")
    except (FileNotFoundError, DecryptionFailed) as error:
        raise signed_links.LinkExpired from error


def remove(services: Services, organization_id: UUID, photo_id: UUID) -> None:
    """Delete the files of a photo."""
    for size in photos.SIZES:
        services.storage.delete(_path(organization_id, photo_id, size))


def sweep_orphans(services: Services, now: datetime) -> int:
    """Delete old files that are the photo of no student, left by failed transactions and erased organizations."""
    swept = 0
    for tenant in filter(_TENANT.fullmatch, services.storage.folder("")):
        organization_id = UUID(tenant)
        names = [found for found in map(_NAME.fullmatch, services.storage.folder(f"{tenant}/photos")) if found]
        old = {UUID(found[1]) for found in names if _made_at(UUID(found[1])) < now - ORPHAN_AGE}
        for photo_id in old - _present(organization_id, old):
            remove(services, organization_id, photo_id)
            swept += 1
    return swept


def _made_at(photo_id: UUID) -> datetime:
    """Return the time in an id: a UUID of version 7 begins with the milliseconds."""
    return datetime.fromtimestamp((photo_id.int >> 80) / 1_000, UTC)


def _present(organization_id: UUID, photo_ids: set[UUID]) -> set[UUID]:
    if not photo_ids:
        return set()
    own = Student.organization_id == organization_id
    with unit_of_work(system=True, read_only=True, organization_id=organization_id) as session:
        found = session.scalars(select(Student.photo_id).where(own, Student.photo_id.in_(photo_ids)))
        return {photo_id for photo_id in found if photo_id is not None}


def _decoded(image: str) -> bytes:
    try:
        return base64.b64decode(image, validate=True)
    except (binascii.Error, ValueError) as error:
        raise NotBase64 from error


def _store(services: Services, organization_id: UUID, photo_id: UUID, files: dict[str, bytes]) -> None:
    for size, data in files.items():
        identity = _identity(organization_id, photo_id, size)
        with (
            services.storage.open_write(_path(organization_id, photo_id, size)) as raw,
            EncryptingWriter(raw, services.file_keys, identity) as encrypted,
        ):
            encrypted.write(data)


def _replace(session: Session, student: Student, photo_id: UUID | None) -> None:
    if student.photo_id is not None:
        enqueue(session, "students.remove_photo", photo_id=str(student.photo_id))
    student.photo_id = photo_id
    session.flush()


def _path(organization_id: UUID, photo_id: UUID, size: str) -> str:
    return path_of(organization_id, "photos", f"{photo_id}-{size}")


def _identity(organization_id: UUID, photo_id: UUID, size: str) -> FileIdentity:
    return FileIdentity(organization_id, "photo", f"{photo_id}-{size}")
