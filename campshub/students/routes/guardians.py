"""The endpoints of guardians, and of their links to students."""

from typing import Any
from uuid import UUID

from campshub.core.errors import Deleted, IdTaken, NotFound, UnknownReference
from campshub.core.http.decorators import cached, named, needs
from campshub.core.http.routing import Blueprint, Resource
from campshub.core.security.permissions import Permission
from campshub.students.queries import guardians as queries
from campshub.students.schemas import guardians as schemas
from campshub.students.service import guardians as service
from campshub.students.service import students
from campshub.students.service.guardian_links import GuardianNamedTwice, SeveralPrimary

guardians = Blueprint(
    "guardians", __name__, url_prefix="/api/guardians", description="The people who are responsible for students."
)
student_guardians = Blueprint(
    "student_guardians", __name__, url_prefix="/api/students", description="The guardians of one student."
)

_REFUSALS = (
    *(service.GuardianExists, service.GuardianExternalIdTaken, service.GuardianLoginTaken),
    service.UnknownGuardianLogin,
)
_TAGS = ("students", "enrolments", "groups")


@guardians.route("/")
class Guardians(Resource):
    """All guardians."""

    @needs(Permission.STUDENTS_READ)
    @cached(tags=_TAGS, same_for_role=True)
    @guardians.query(schemas.GuardianFilter)
    @guardians.answers_page(schemas.GuardianOut, sorts=("name", "created"))
    def get(self, *, page: Any, **filters: Any) -> Any:
        """List guardians; deleted ones for those who may undelete them."""
        self.require(Permission.STUDENTS_WRITE, only_if=filters["deleted"])
        return queries.list_guardians(self.session, self.principal, page=page, **filters)

    @needs(Permission.STUDENTS_WRITE)
    @guardians.body(schemas.GuardianIn)
    @guardians.answers(schemas.GuardianOut, status=201, raises=(IdTaken, Deleted, *_REFUSALS))
    def post(self, **given: Any) -> Any:
        """Create a guardian."""
        guardian, made = service.create(self.session, self.principal, **given)
        return guardian, 201 if made else 200


@guardians.route("/<uuid:guardian_id>/")
class OneGuardian(Resource):
    """One guardian."""

    @needs(Permission.STUDENTS_READ)
    @cached(tags=_TAGS, same_for_role=True)
    @guardians.answers(schemas.GuardianOut)
    def get(self, guardian_id: UUID) -> Any:
        """Show a guardian."""
        return queries.get_guardian(self.session, self.principal, guardian_id)

    @needs(Permission.STUDENTS_WRITE)
    @guardians.body(schemas.GuardianPatch)
    @guardians.answers(schemas.GuardianOut, raises=(NotFound, *_REFUSALS))
    def patch(self, guardian_id: UUID, **changes: Any) -> Any:
        """Change a guardian, for all of their students."""
        return service.change(self.session, self.principal, guardian_id=guardian_id, expected=self.if_match, **changes)

    @needs(Permission.STUDENTS_WRITE)
    @guardians.answers(None, raises=(NotFound,))
    def delete(self, guardian_id: UUID) -> None:
        """Delete a guardian: no student shows them, and their login sees no student; they can be undeleted."""
        service.delete(self.session, self.principal, guardian_id=guardian_id, expected=self.if_match, now=self.now)


@guardians.route("/<uuid:guardian_id>/undelete/")
class GuardianUndelete(Resource):
    """Undeleting a guardian."""

    @needs(Permission.STUDENTS_WRITE)
    @guardians.answers(schemas.GuardianOut, raises=(NotFound, service.GuardianExists))
    def post(self, guardian_id: UUID) -> Any:
        """Undelete a guardian, with their links to students."""
        return service.undelete(self.session, self.principal, guardian_id=guardian_id)


@guardians.route("/<uuid:guardian_id>/students/")
class GuardianStudents(Resource):
    """The students of a guardian."""

    @needs(Permission.STUDENTS_READ)
    @named("listGuardianStudents")
    @cached(tags=_TAGS, same_for_role=True)
    @guardians.answers_page(schemas.GuardianStudentOut, sorts=("name",), raises=(NotFound,))
    def get(self, guardian_id: UUID, *, page: Any) -> Any:
        """List the students of a guardian, each with the guardian's link to them."""
        return queries.list_students(self.session, self.principal, guardian_id, page=page)


@student_guardians.route("/<uuid:student_id>/guardians/")
class StudentGuardians(Resource):
    """The guardians of a student."""

    @needs(Permission.STUDENTS_READ)
    @named("getStudentGuardians")
    @cached(tags=_TAGS, same_for_role=True)
    @student_guardians.answers(schemas.StudentGuardiansOut)
    def get(self, student_id: UUID) -> Any:
        """Show the guardians of a student, the primary one first."""
        return queries.of_student(self.session, self.principal, student_id)

    @needs(Permission.STUDENTS_WRITE)
    @named("setStudentGuardians")
    @student_guardians.body(schemas.StudentGuardiansIn)
    @student_guardians.answers(
        schemas.StudentGuardiansOut,
        raises=(NotFound, UnknownReference, SeveralPrimary, GuardianNamedTwice, service.GuardianExists),
    )
    def put(self, student_id: UUID, **given: Any) -> Any:
        """Replace the guardians of a student; this changes the version of the student."""
        students.set_guardians(self.session, self.principal, student_id=student_id, expected=self.if_match, **given)
        return queries.of_student(self.session, self.principal, student_id)
