"""The endpoints of custom fields."""

from typing import Any
from uuid import UUID

from campshub.core.errors import IdTaken, NotFound
from campshub.core.http.decorators import cached, needs
from campshub.core.http.routing import Blueprint, Resource
from campshub.core.security.permissions import Permission
from campshub.students.queries import custom_fields as queries
from campshub.students.schemas import custom_fields as schemas
from campshub.students.service import custom_fields as service

custom_fields = Blueprint(
    "custom_fields", __name__, url_prefix="/api/students/custom-fields", description="Fields that you define."
)


@custom_fields.route("/")
class CustomFields(Resource):
    """All custom fields."""

    @needs(Permission.STUDENTS_READ)
    @cached(tags=("custom_fields",), same_for_role=True)
    @custom_fields.query(schemas.CustomFieldFilter)
    @custom_fields.answers_page(schemas.CustomFieldOut, sorts=("position",))
    def get(self, *, archived: bool, page: Any) -> Any:
        """List the custom fields that you see; archived ones for those who may define fields."""
        self.require(Permission.ORGANIZATION_WRITE, only_if=archived)
        return queries.list_custom_fields(self.session, self.principal, archived=archived, page=page)

    @needs(Permission.ORGANIZATION_WRITE)
    @custom_fields.body(schemas.CustomFieldIn)
    @custom_fields.answers(
        schemas.CustomFieldOut,
        status=201,
        raises=(IdTaken, service.CustomFieldKeyTaken, service.ChoicesExpected, service.TooManyCustomFields),
    )
    def post(self, **given: Any) -> Any:
        """Define a custom field."""
        field, made = service.create(self.session, self.principal, **given)
        return field, 201 if made else 200


@custom_fields.route("/<uuid:custom_field_id>/")
class OneCustomField(Resource):
    """One custom field."""

    @needs(Permission.STUDENTS_READ)
    @cached(tags=("custom_fields",), same_for_role=True)
    @custom_fields.answers(schemas.CustomFieldOut)
    def get(self, custom_field_id: UUID) -> Any:
        """Show a custom field."""
        return queries.get_custom_field(self.session, self.principal, custom_field_id)

    @needs(Permission.ORGANIZATION_WRITE)
    @custom_fields.body(schemas.CustomFieldPatch)
    @custom_fields.answers(
        schemas.CustomFieldOut, raises=(service.CustomFieldInUse, service.ChoiceInUse, service.ChoicesExpected)
    )
    def patch(self, custom_field_id: UUID, **changes: Any) -> Any:
        """Change a custom field."""
        return service.change(
            self.session, self.principal, custom_field_id=custom_field_id, expected=self.if_match, **changes
        )

    @needs(Permission.ORGANIZATION_WRITE)
    @custom_fields.answers(None, raises=(NotFound, service.CustomFieldInUse))
    def delete(self, custom_field_id: UUID) -> None:
        """Delete a custom field of which no student has a value; archive the others."""
        service.delete(self.session, self.principal, custom_field_id=custom_field_id, expected=self.if_match)
