"""The endpoints that write many students, or that find students as another system knows them."""

from datetime import date
from typing import Any

from campshub.core.errors import Deleted, IdTaken
from campshub.core.http.decorators import named, needs
from campshub.core.http.routing import Blueprint, Resource
from campshub.core.security.permissions import Permission
from campshub.students.queries import students as queries
from campshub.students.routes.students import REFUSALS
from campshub.students.schemas import bulk as schemas
from campshub.students.schemas.students import StudentOut
from campshub.students.service import bulk, bulk_changes, leavers, upserts
from campshub.students.service.students import NoName

students_in_bulk = Blueprint(
    "students_in_bulk", __name__, url_prefix="/api/students", description="Many students at once."
)


@students_in_bulk.route("/bulk/")
class StudentsBulk(Resource):
    """Many students at once."""

    @needs(Permission.STUDENTS_WRITE)
    @named("createStudents")
    @students_in_bulk.body(schemas.StudentsIn, most_mib=8)
    @students_in_bulk.answers(schemas.StudentsResultOut)
    def post(self, *, students: Any, on_existing: str, key: str, dry_run: bool) -> Any:
        """Create many students, or change those who exist; each row has its own result."""
        caller = self.session, self.principal, self.services
        if on_existing == "update":
            return upserts.upsert_many(*caller, rows=students, key=key, dry_run=dry_run)
        return bulk.create_many(*caller, students=students, dry_run=dry_run)

    @needs(Permission.STUDENTS_WRITE)
    @named("updateStudents")
    @students_in_bulk.body(schemas.StudentChangesIn, most_mib=8)
    @students_in_bulk.answers(schemas.ChangesResultOut)
    def patch(self, *, students: Any, dry_run: bool) -> Any:
        """Change many students; each row has its own result. `If-Match` applies to every student."""
        caller, expected = (self.session, self.principal, self.services), self.if_match
        return bulk_changes.update_many(*caller, students=students, dry_run=dry_run, expected=expected)


@students_in_bulk.route("/bulk/delete/")
class StudentsBulkDelete(Resource):
    """Deleting many students at once."""

    @needs(Permission.STUDENTS_WRITE)
    @named("deleteStudents")
    @students_in_bulk.body(schemas.StudentDeletionsIn)
    @students_in_bulk.answers(schemas.DeletionsResultOut)
    def post(self, **given: Any) -> Any:
        """Delete many students; their history stays, and each can be undeleted."""
        return bulk_changes.delete_many(self.session, self.principal, now=self.now, **given)


@students_in_bulk.route("/bulk/leavers/")
class StudentsBulkLeavers(Resource):
    """Students who are missing from a full list."""

    @needs(Permission.STUDENTS_WRITE)
    @named("removeMissingStudents")
    @students_in_bulk.body(schemas.LeaversIn, most_mib=8)
    @students_in_bulk.answers(schemas.LeaversOut, raises=(leavers.TooManyLeavers,))
    def post(self, *, left_on: date | None, **given: Any) -> Any:
        """Give a last day to the students who are missing from a full list of another system."""
        return leavers.remove_missing(self.session, self.principal, left_on=left_on or self.today, **given)


@students_in_bulk.route("/by-external-id/<external_id>/")
class StudentByExternalId(Resource):
    """A student as another system knows them."""

    @needs(Permission.STUDENTS_WRITE)
    @named("putStudentByExternalId")
    @students_in_bulk.body(schemas.ExternalStudentIn)
    @students_in_bulk.answers(StudentOut, status=201, raises=(IdTaken, Deleted, NoName, *REFUSALS))
    def put(self, external_id: str, **given: Any) -> Any:
        """Create the student with an external id (201), or change them."""
        caller, expected = (self.session, self.principal, self.services), self.if_match
        student_id, is_new = upserts.upsert_one(*caller, external_id=external_id, expected=expected, **given)
        return queries.get_written(self.session, self.principal, student_id), 201 if is_new else 200
