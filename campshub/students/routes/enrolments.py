"""The endpoints of enrolments across groups, and of the groups of a student."""

from datetime import date
from typing import Any
from uuid import UUID

from campshub.core.errors import NotFound
from campshub.core.http.decorators import cached, named, needs
from campshub.core.http.routing import Blueprint, Resource
from campshub.core.security.permissions import Permission
from campshub.students.queries import enrolments as queries
from campshub.students.routes.students import students
from campshub.students.schemas import enrolments as schemas
from campshub.students.schemas.groups import EnrolmentFilter, EnrolmentOut
from campshub.students.service import enrolment_bulk

enrolments = Blueprint("enrolments", __name__, url_prefix="/api/enrolments", description="Who is in which group, when.")

_TAGS = ("enrolments", "groups", "students")


@enrolments.route("/")
class AllEnrolments(Resource):
    """The enrolments of all groups."""

    @needs(Permission.GROUPS_READ)
    @named("listAllEnrolments")
    @cached(tags=_TAGS, same_for_role=True)
    @enrolments.query(schemas.EnrolmentsFilter)
    @enrolments.answers_page(EnrolmentOut, sorts=("begins_on",))
    def get(self, *, page: Any, **filters: Any) -> Any:
        """List enrolments of all groups that you see, by start date."""
        return queries.list_enrolments(self.session, self.principal, page=page, **filters)


@enrolments.route("/bulk/")
class EnrolmentsBulk(Resource):
    """Many enrolments at once."""

    @needs(Permission.GROUPS_WRITE)
    @named("createEnrolments")
    @enrolments.body(schemas.EnrolmentsIn, most_mib=8)
    @enrolments.answers(schemas.EnrolmentsResultOut)
    def post(self, **given: Any) -> Any:
        """Enrol many students; each row has its own result."""
        return enrolment_bulk.enrol_many(self.session, self.principal, today=self.today, **given)


@students.route("/<uuid:student_id>/enrolments/")
class StudentEnrolments(Resource):
    """A student's enrolments."""

    @needs(Permission.GROUPS_READ)
    @named("listStudentEnrolments")
    @cached(tags=_TAGS, same_for_role=True)
    @students.query(EnrolmentFilter)
    @students.answers_page(EnrolmentOut, sorts=("begins_on",), raises=(NotFound,))
    def get(self, student_id: UUID, *, page: Any, **filters: Any) -> Any:
        """List a student's past and current enrolments."""
        return queries.list_of_student(self.session, self.principal, student_id, page=page, **filters)


@students.route("/<uuid:student_id>/groups/")
class StudentGroups(Resource):
    """The groups of a student."""

    @needs(Permission.GROUPS_READ)
    @named("listStudentGroups")
    @cached(tags=_TAGS, same_for_role=True)
    @students.query(schemas.StudentGroupFilter)
    @students.answers_page(schemas.StudentGroupOut, sorts=("name",), raises=(NotFound,))
    def get(self, student_id: UUID, *, on: date | None, page: Any) -> Any:
        """List the groups in which a student is on a date."""
        day = on or self.today
        return queries.list_groups_of_student(self.session, self.principal, student_id, on=day, page=page)
