"""The endpoints of groups."""

from datetime import date
from typing import Any
from uuid import UUID

from campshub.core.errors import Deleted, IdTaken, NotFound, UnknownReference
from campshub.core.http.decorators import cached, named, needs
from campshub.core.http.routing import Blueprint, Resource
from campshub.core.security.permissions import Permission
from campshub.students.queries import groups as queries
from campshub.students.queries import waiting
from campshub.students.schemas import groups as schemas
from campshub.students.service import groups as service
from campshub.students.service import places

groups = Blueprint("groups", __name__, url_prefix="/api/groups", description="Classes, batches, camps and courses.")

_UNFIT = (service.GroupCodeTaken, service.GroupExternalIdTaken, service.EndsBeforeBegin, UnknownReference)
_UNFIT_ENROLMENT = (
    *(places.GroupClosed, places.GroupFull, service.AlreadyEnrolled),
    *(service.EndsBeforeBegin, service.EndRequired),
)


@groups.route("/")
class Groups(Resource):
    """All groups."""

    @needs(Permission.GROUPS_READ)
    @cached(tags=("groups", "enrolments", "students"), same_for_role=True)
    @groups.query(schemas.GroupFilter)
    @groups.answers_page(schemas.GroupOut, sorts=("name", "code", "created"))
    def get(self, *, page: Any, **filters: Any) -> Any:
        """List groups; deleted ones for those who may undelete them."""
        self.require(Permission.GROUPS_WRITE, only_if=filters["deleted"])
        return queries.list_groups(self.session, self.principal, page=page, **filters)

    @needs(Permission.GROUPS_WRITE)
    @groups.body(schemas.GroupIn)
    @groups.answers(schemas.GroupWholeOut, status=201, raises=(IdTaken, Deleted, *_UNFIT))
    def post(self, **given: Any) -> Any:
        """Create a group."""
        group_id, made = service.create(self.session, self.principal, **given)
        group = queries.get_group(self.session, self.principal, group_id, on=self.today, is_written=True)
        return group, 201 if made else 200


@groups.route("/<uuid:group_id>/")
class OneGroup(Resource):
    """One group."""

    @needs(Permission.GROUPS_READ)
    @cached(tags=("groups", "enrolments", "students", "access"), same_for_role=True)
    @groups.answers(schemas.GroupWholeOut)
    def get(self, group_id: UUID) -> Any:
        """Show a group."""
        return queries.get_group(self.session, self.principal, group_id, on=self.today)

    @needs(Permission.GROUPS_WRITE)
    @groups.body(schemas.GroupPatch)
    @groups.answers(schemas.GroupWholeOut, raises=(places.GroupClosed, places.GroupFull, *_UNFIT))
    def patch(self, group_id: UUID, **changes: Any) -> Any:
        """Change a group."""
        service.change(self.session, self.principal, group_id=group_id, expected=self.if_match, **changes)
        return queries.get_group(self.session, self.principal, group_id, on=self.today, is_written=True)

    @needs(Permission.GROUPS_WRITE)
    @groups.answers(None)
    def delete(self, group_id: UUID) -> None:
        """Delete a group; its history stays, and it can be undeleted."""
        service.delete(self.session, self.principal, group_id=group_id, expected=self.if_match, now=self.now)


@groups.route("/<uuid:group_id>/undelete/")
class GroupUndelete(Resource):
    """Undeleting a group."""

    @needs(Permission.GROUPS_WRITE)
    @groups.answers(schemas.GroupWholeOut)
    def post(self, group_id: UUID) -> Any:
        """Undelete a group."""
        service.undelete(self.session, self.principal, group_id=group_id)
        return queries.get_group(self.session, self.principal, group_id, on=self.today)


@groups.route("/<uuid:group_id>/roster/")
class Roster(Resource):
    """The members of a group."""

    @needs(Permission.STUDENTS_READ)
    @named("listGroupRoster")
    @cached(tags=("groups", "enrolments", "students"), same_for_role=True)
    @groups.query(schemas.RosterFilter)
    @groups.answers_page(schemas.RosterRowOut, sorts=("name",))
    def get(self, group_id: UUID, *, on: date | None, page: Any) -> Any:
        """List the members of a group on a date."""
        return queries.roster(self.session, self.principal, group_id, on=on or self.today, page=page)


@groups.route("/<uuid:group_id>/enrolments/")
class Enrolments(Resource):
    """A group's enrolments."""

    @needs(Permission.GROUPS_READ)
    @cached(tags=("groups", "enrolments", "students"), same_for_role=True)
    @groups.query(schemas.EnrolmentFilter)
    @groups.answers_page(schemas.EnrolmentOut, sorts=("begins_on",))
    def get(self, group_id: UUID, *, page: Any, **filters: Any) -> Any:
        """List a group's past and current enrolments."""
        return queries.list_enrolments(self.session, self.principal, group_id, page=page, **filters)

    @needs(Permission.GROUPS_WRITE)
    @groups.body(schemas.EnrolmentIn)
    @groups.answers(
        schemas.EnrolmentOut,
        status=201,
        raises=(NotFound, IdTaken, UnknownReference, *_UNFIT_ENROLMENT),
    )
    def post(self, group_id: UUID, **given: Any) -> Any:
        """Enrol a student."""
        enrolment, made = service.enrol(self.session, self.principal, group_id=group_id, today=self.today, **given)
        return enrolment, 201 if made else 200


@groups.route("/<uuid:group_id>/enrolments/<uuid:enrolment_id>/")
class OneEnrolment(Resource):
    """One enrolment."""

    @needs(Permission.GROUPS_READ)
    @cached(tags=("groups", "enrolments", "students"), same_for_role=True)
    @groups.answers(schemas.EnrolmentOut)
    def get(self, group_id: UUID, enrolment_id: UUID) -> Any:
        """Show an enrolment."""
        return queries.get_enrolment(self.session, self.principal, group_id, enrolment_id)

    @needs(Permission.GROUPS_WRITE)
    @groups.body(schemas.EnrolmentPatch)
    @groups.answers(schemas.EnrolmentOut, raises=_UNFIT_ENROLMENT)
    def patch(self, group_id: UUID, enrolment_id: UUID, **changes: Any) -> Any:
        """Change an enrolment's dates or status; without a last day, a student who leaves does so today."""
        expected, principal = self.if_match, self.principal
        return service.change_enrolment(
            self.session,
            principal,
            group_id=group_id,
            enrolment_id=enrolment_id,
            expected=expected,
            today=self.today,
            **changes,
        )


@groups.route("/<uuid:group_id>/waiting-list/")
class WaitingList(Resource):
    """A group's waiting list."""

    @needs(Permission.STUDENTS_READ)
    @named("listGroupWaitingList")
    @cached(tags=("groups", "enrolments", "students"), same_for_role=True)
    @groups.answers_page(schemas.WaitingOut, sorts=("position",))
    def get(self, group_id: UUID, *, page: Any) -> Any:
        """List the enrolments that wait for a place in a group, the first one first."""
        return waiting.list_waiting(self.session, self.principal, group_id, page=page)
