"""The endpoints of substitutes."""

from typing import Any
from uuid import UUID

from campshub.core.errors import IdTaken, NotFound, UnknownReference
from campshub.core.http.decorators import cached, needs
from campshub.core.http.routing import Blueprint, Resource
from campshub.core.security.permissions import Permission
from campshub.students.queries import substitutes as queries
from campshub.students.schemas import substitutes as schemas
from campshub.students.service import substitutes as service

group_substitutes = Blueprint(
    "group_substitutes", __name__, url_prefix="/api/groups", description="Substitutes of a group's trainers."
)

_TAGS = ("groups", "enrolments", "students")
_UNFIT = (service.SubstituteEndsBeforeBegin,)


@group_substitutes.route("/<uuid:group_id>/substitutes/")
class GroupSubstitutes(Resource):
    """A group's substitutes."""

    @needs(Permission.GROUPS_READ)
    @cached(tags=_TAGS, same_for_role=True)
    @group_substitutes.query(schemas.GroupSubstituteFilter)
    @group_substitutes.answers_page(schemas.GroupSubstituteOut, sorts=("first_date",))
    def get(self, group_id: UUID, *, page: Any, **days: Any) -> Any:
        """List a group's substitutes by first date."""
        return queries.list_substitutes(self.session, self.principal, group_id, page=page, **days)

    @needs(Permission.GROUPS_WRITE)
    @group_substitutes.body(schemas.GroupSubstituteIn)
    @group_substitutes.answers(
        schemas.GroupSubstituteOut, status=201, raises=(NotFound, IdTaken, UnknownReference, *_UNFIT)
    )
    def post(self, group_id: UUID, **given: Any) -> Any:
        """Assign a substitute, who sees and marks the group on these days only."""
        substitute, is_new = service.assign(self.session, self.principal, group_id=group_id, **given)
        return substitute, 201 if is_new else 200


@group_substitutes.route("/<uuid:group_id>/substitutes/<uuid:substitute_id>/")
class OneGroupSubstitute(Resource):
    """One substitute."""

    @needs(Permission.GROUPS_READ)
    @cached(tags=_TAGS, same_for_role=True)
    @group_substitutes.answers(schemas.GroupSubstituteOut)
    def get(self, group_id: UUID, substitute_id: UUID) -> Any:
        """Show a substitute."""
        return queries.get_substitute(self.session, self.principal, group_id, substitute_id)

    @needs(Permission.GROUPS_WRITE)
    @group_substitutes.body(schemas.GroupSubstitutePatch)
    @group_substitutes.answers(schemas.GroupSubstituteOut, raises=_UNFIT)
    def patch(self, group_id: UUID, substitute_id: UUID, **changes: Any) -> Any:
        """Change the days of a substitute."""
        given: dict[str, Any] = {"group_id": group_id, "substitute_id": substitute_id, "expected": self.if_match}
        return service.change(self.session, self.principal, **given, **changes)

    @needs(Permission.GROUPS_WRITE)
    @group_substitutes.answers(None)
    def delete(self, group_id: UUID, substitute_id: UUID) -> None:
        """Remove a substitute; their access ends at once."""
        given: dict[str, Any] = {"group_id": group_id, "substitute_id": substitute_id, "expected": self.if_match}
        service.remove(self.session, self.principal, **given)
