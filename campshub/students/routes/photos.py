"""The endpoints of students' photos."""

from typing import Any
from uuid import UUID

from campshub.core.errors import NotFound, PreconditionFailed
from campshub.core.http.decorators import limited, named, needs, public, secret
from campshub.core.http.routing import Blueprint, Resource
from campshub.core.security.permissions import Permission
from campshub.core.security.signed_links import LinkExpired
from campshub.students.photos import MEDIA_TYPE, DamagedImage, NotAnImage, TooManyBytes, TooManyPixels
from campshub.students.schemas import photos as schemas
from campshub.students.service import photos as service

student_photos = Blueprint("student_photos", __name__, url_prefix="/api/students", description="Photos of students.")

_UNFIT = (service.NotBase64, TooManyBytes, NotAnImage, TooManyPixels, DamagedImage)


@student_photos.route("/<uuid:student_id>/photo/")
class StudentPhoto(Resource):
    """The photo of a student."""

    @needs(Permission.STUDENTS_READ)
    @named("getStudentPhoto")
    @secret
    @student_photos.answers(schemas.PhotoOut, raises=(NotFound,))
    def get(self, student_id: UUID) -> Any:
        """Return links to a student's photo in two sizes, which are valid for an hour."""
        return service.links_of(self.session, self.principal, self.services, student_id, now=self.now)

    @needs(Permission.STUDENTS_WRITE)
    @named("setStudentPhoto")
    @secret
    @student_photos.body(schemas.PhotoIn, most_mib=8)
    @student_photos.answers(schemas.PhotoOut, raises=(NotFound, PreconditionFailed, *_UNFIT))
    def put(self, student_id: UUID, **given: Any) -> Any:
        """Set the photo of a student: it is stored as two JPEGs, upright and without metadata such as the place."""
        service.set_photo(
            self.session, self.principal, self.services, student_id=student_id, expected=self.if_match, **given
        )
        return service.links_of(self.session, self.principal, self.services, student_id, now=self.now)

    @needs(Permission.STUDENTS_WRITE)
    @named("deleteStudentPhoto")
    @student_photos.answers(None, raises=(NotFound, PreconditionFailed))
    def delete(self, student_id: UUID) -> None:
        """Delete the photo of a student."""
        service.delete_photo(self.session, self.principal, student_id=student_id, expected=self.if_match)


@student_photos.route("/<uuid:student_id>/photo/file/")
class StudentPhotoFile(Resource):
    """One size of a student's photo."""

    @public
    @named("downloadStudentPhoto")
    @secret
    @limited("files")
    @student_photos.query(schemas.PhotoToken)
    @student_photos.answers_file(MEDIA_TYPE, raises=(NotFound, LinkExpired))
    def get(self, student_id: UUID, *, token: str) -> Any:
        """Download a photo with its link; the user of the link must still be allowed to see the student."""
        return service.fetch(self.session, self.services, student_id=student_id, token=token, now=self.now)
