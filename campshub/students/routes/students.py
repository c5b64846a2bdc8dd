"""The endpoints of students."""

from typing import Any
from uuid import UUID

from campshub.core.errors import Deleted, IdTaken, NotFound, UnknownReference
from campshub.core.http.decorators import CacheLifetime, cached, includes, needs, secret
from campshub.core.http.routing import Blueprint, Resource
from campshub.core.security.permissions import Permission
from campshub.students.queries import included
from campshub.students.queries import students as queries
from campshub.students.schemas import students as schemas
from campshub.students.service import students as service
from campshub.students.service.guardian_links import GuardianNamedTwice, SeveralPrimary
from campshub.students.service.guardians import GuardianExists

students = Blueprint("students", __name__, url_prefix="/api/students", description="The students of the organization.")

REFUSALS = (
    *(service.CodeTaken, service.StudentExternalIdTaken, service.LoginTaken, service.UnknownLogin),
    *(service.LeftBeforeJoined, service.BornInFuture),
    *(UnknownReference, SeveralPrimary, GuardianNamedTwice, GuardianExists),
)


@students.route("/")
class Students(Resource):
    """All students."""

    @needs(Permission.STUDENTS_READ)
    @cached(tags=("students", "enrolments", "groups", "custom_fields"), same_for_role=True)
    @includes(included.TAGS)
    @students.query(schemas.StudentFilter)
    @students.answers_page(schemas.StudentBriefOut, sorts=("name", "code", "created", "relevance"))
    def get(self, *, page: Any, **filters: Any) -> Any:
        """List students; deleted ones for those who may undelete them."""
        self.require(Permission.STUDENTS_WRITE, only_if=filters["deleted"])
        for name in filters["include"] or ():
            self.require(included.permission_of(name), only_if=True)
        return queries.list_students(self.session, self.principal, page=page, on=self.today, **filters)

    @needs(Permission.STUDENTS_WRITE)
    @students.body(schemas.StudentIn)
    @students.answers(schemas.StudentOut, status=201, raises=(IdTaken, Deleted, *REFUSALS))
    def post(self, **given: Any) -> Any:
        """Create a student."""
        student, made = service.create(self.session, self.principal, self.services, **given)
        guardians: list[Any] | None = [] if made and not given["guardians"] else None
        shown = queries.as_shown(self.session, self.principal, student, guardians=guardians)
        return shown, 201 if made else 200


@students.route("/statistics/")
class StudentStatistics(Resource):
    """Counts of students."""

    @needs(Permission.STUDENTS_READ)
    @cached(tags=("students", "enrolments", "groups"), lifetime=CacheLifetime.STATISTICS, same_for_role=True)
    @students.answers(schemas.StudentStatisticsOut)
    def get(self) -> Any:
        """Count students by status, group and month of joining."""
        return queries.statistics(self.session, self.principal, on=self.today)


@students.route("/<uuid:student_id>/")
class OneStudent(Resource):
    """One student."""

    @needs(Permission.STUDENTS_READ)
    @cached(tags=("students", "enrolments", "groups", "custom_fields"), same_for_role=True)
    @students.answers(schemas.StudentOut)
    def get(self, student_id: UUID) -> Any:
        """Show a student."""
        return queries.get_student(self.session, self.principal, student_id)

    @needs(Permission.STUDENTS_WRITE)
    @students.body(schemas.StudentPatch)
    @students.answers(schemas.StudentOut, raises=(NotFound, service.NoName, *REFUSALS))
    def patch(self, student_id: UUID, **changes: Any) -> Any:
        """Change a student."""
        student = service.change(
            self.session, self.principal, self.services, student_id=student_id, expected=self.if_match, **changes
        )
        return queries.as_shown(self.session, self.principal, student)

    @needs(Permission.STUDENTS_WRITE)
    @students.answers(None, raises=(NotFound,))
    def delete(self, student_id: UUID) -> None:
        """Delete a student; their history stays, and they can be undeleted."""
        service.delete(self.session, self.principal, student_id=student_id, expected=self.if_match, now=self.now)


@students.route("/<uuid:student_id>/undelete/")
class StudentUndelete(Resource):
    """Undeleting a student."""

    @needs(Permission.STUDENTS_WRITE)
    @students.answers(schemas.StudentOut, raises=(NotFound,))
    def post(self, student_id: UUID) -> Any:
        """Undelete a student."""
        student = service.undelete(self.session, self.principal, student_id=student_id)
        return queries.as_shown(self.session, self.principal, student)


@students.route("/<uuid:student_id>/medical-note/")
class StudentMedicalNote(Resource):
    """A student's medical note."""

    @needs(Permission.MEDICAL_READ)
    @secret
    @students.answers(schemas.MedicalNoteOut, raises=(NotFound,))
    def get(self, student_id: UUID) -> Any:
        """Read a student's medical note; the audit log records the read."""
        return service.read_medical_note(self.session, self.principal, self.services, student_id=student_id)
