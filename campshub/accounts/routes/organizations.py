"""The endpoints of organizations."""

from typing import Any
from uuid import UUID

from campshub.accounts.queries import organizations as queries
from campshub.accounts.schemas import organizations as schemas
from campshub.accounts.service import lifecycle
from campshub.accounts.service import organizations as service
from campshub.accounts.service.mfa import StepUpRequired
from campshub.core.errors import NotFound, PreconditionFailed, UnknownReference
from campshub.core.http.decorators import as_system, cached, needs, secret
from campshub.core.http.routing import Blueprint, Resource
from campshub.core.security.authorization import NotForKeys
from campshub.core.security.permissions import Permission

organizations = Blueprint("organizations", __name__, url_prefix="/api", description="Organizations.")


@organizations.route("/organization/")
class MyOrganization(Resource):
    """The caller's organization."""

    @needs(Permission.ORGANIZATION_READ)
    @cached(tags=("access",), same_for_role=True)
    @organizations.answers(schemas.OrganizationOut)
    def get(self) -> Any:
        """Show the organization that you are signed in to."""
        return queries.my_organization(self.session, self.principal)

    @needs(Permission.ORGANIZATION_WRITE)
    @organizations.body(schemas.OrganizationPatch)
    @organizations.answers(schemas.OrganizationOut, raises=(PreconditionFailed, UnknownReference))
    def patch(self, **changes: Any) -> Any:
        """Change the organization."""
        return service.change_organization(self.session, self.principal, expected=self.if_match, **changes)


@organizations.route("/organization/close/")
class CloseOrganization(Resource):
    """Closing the organization."""

    @needs(Permission.ORGANIZATION_WRITE)
    @organizations.answers(schemas.OrganizationOut, raises=(StepUpRequired, NotForKeys))
    def post(self) -> Any:
        """Close the organization: no one can sign in, and later (30 days by default) its data is erased."""
        return lifecycle.close(self.session, self.principal, self.services, now=self.now)


@organizations.route("/organizations/")
class Organizations(Resource):
    """All organizations, for the platform's staff."""

    @needs(Permission.ORGANIZATIONS_WRITE)
    @as_system
    @secret
    @organizations.body(schemas.OrganizationIn)
    @organizations.answers(schemas.OrganizationOut, status=201, raises=(service.EmailTaken,))
    def post(self, **given: Any) -> Any:
        """Create an organization with its first admin."""
        return service.found_organization(self.session, self.services, **given, now=self.now)


@organizations.route("/organizations/<uuid:organization_id>/")
class OneOrganization(Resource):
    """One organization, for the platform's staff."""

    @needs(Permission.ORGANIZATIONS_WRITE)
    @as_system
    @organizations.body(schemas.OrganizationStatePatch)
    @organizations.answers(schemas.OrganizationOut, raises=(NotFound, PreconditionFailed, lifecycle.ErasureBegun))
    def patch(self, organization_id: UUID, **changes: Any) -> Any:
        """Suspend, close or resume an organization; it takes effect at its users' next request."""
        return lifecycle.change(
            self.session, organization_id=organization_id, expected=self.if_match, now=self.now, **changes
        )
