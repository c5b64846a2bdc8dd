"""The endpoints of roles."""

from typing import Any
from uuid import UUID

from campshub.accounts.queries import roles as queries
from campshub.accounts.schemas import roles as schemas
from campshub.accounts.service import roles as service
from campshub.accounts.service.role_grants import RoleNotYours
from campshub.core.errors import IdTaken, NotFound, PreconditionFailed
from campshub.core.http.decorators import cached, needs
from campshub.core.http.routing import Blueprint, Resource
from campshub.core.security.permissions import Permission

roles = Blueprint("roles", __name__, url_prefix="/api/roles", description="Roles: the permissions of their holders.")


@roles.route("/")
class Roles(Resource):
    """All roles."""

    @needs(Permission.ROLES_READ)
    @cached(tags=("access",), same_for_role=True)
    @roles.answers(schemas.RolesOut)
    def get(self) -> dict[str, Any]:
        """List the built-in roles and the organization's custom roles."""
        return queries.list_roles(self.session, self.principal)

    @needs(Permission.ROLES_WRITE)
    @roles.body(schemas.RoleIn)
    @roles.answers(
        schemas.RoleOut, status=201, raises=(RoleNotYours, IdTaken, service.RoleNameTaken, service.TooManyRoles)
    )
    def post(self, **given: Any) -> Any:
        """Create a custom role, which may allow no more than your own role."""
        role, made = service.create(self.session, self.principal, **given)
        return role, 201 if made else 200


@roles.route("/<uuid:role_id>/")
class OneRole(Resource):
    """One custom role."""

    @needs(Permission.ROLES_READ)
    @cached(tags=("access",), same_for_role=True)
    @roles.answers(schemas.RoleOut, raises=(NotFound,))
    def get(self, role_id: UUID) -> dict[str, Any]:
        """Show a role."""
        return queries.get_role(self.session, self.principal, role_id)

    @needs(Permission.ROLES_WRITE)
    @roles.body(schemas.RolePatch)
    @roles.answers(schemas.RoleOut, raises=(NotFound, RoleNotYours, service.RoleNameTaken, PreconditionFailed))
    def patch(self, role_id: UUID, **changes: Any) -> dict[str, Any]:
        """Change a role; it takes effect at the next request of everyone who has it."""
        return service.change(self.session, self.principal, role_id=role_id, expected=self.if_match, **changes)

    @needs(Permission.ROLES_WRITE)
    @roles.answers(None, raises=(NotFound, RoleNotYours, service.RoleInUse, PreconditionFailed))
    def delete(self, role_id: UUID) -> None:
        """Delete a role that no user has."""
        service.delete(self.session, self.principal, role_id=role_id, expected=self.if_match)
