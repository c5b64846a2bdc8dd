"""The endpoints of invitations."""

from typing import Any
from uuid import UUID

from campshub.accounts.queries import invitations as queries
from campshub.accounts.schemas import invitations as schemas
from campshub.accounts.service import invitations as service
from campshub.accounts.service.members import AlreadyMember, MemberDisabled
from campshub.accounts.service.passwords import TokenSpent
from campshub.accounts.service.role_grants import RoleNotYours
from campshub.core.errors import NotFound
from campshub.core.http.decorators import limited, needs, public, secret
from campshub.core.http.routing import Blueprint, Resource
from campshub.core.security.authorization import OrganizationSuspended
from campshub.core.security.passwords import PasswordsBusy
from campshub.core.security.permissions import Permission

invitations = Blueprint(
    "invitations", __name__, url_prefix="/api/invitations", description="Invitations to join the organization."
)


@invitations.route("/")
class Invitations(Resource):
    """The organization's invitations."""

    @needs(Permission.USERS_WRITE)
    @invitations.answers_page(schemas.InvitationOut, sorts=("created",))
    def get(self, *, page: Any) -> Any:
        """List the organization's invitations."""
        return queries.list_invitations(self.session, self.principal, page=page)

    @needs(Permission.USERS_WRITE)
    @invitations.body(schemas.InvitationIn)
    @invitations.answers(schemas.InvitationOut, status=201, raises=(RoleNotYours, service.TooManyLetters))
    def post(self, **given: Any) -> Any:
        """Invite an e-mail address, replacing its open invitation; the e-mail contains the token to accept."""
        return service.invite(self.session, self.principal, self.services, **given, now=self.now)


@invitations.route("/<uuid:invitation_id>/")
class OneInvitation(Resource):
    """One invitation."""

    @needs(Permission.USERS_WRITE)
    @invitations.answers(None, raises=(NotFound, RoleNotYours))
    def delete(self, invitation_id: UUID) -> None:
        """Revoke an invitation."""
        service.revoke(self.session, self.principal, invitation_id=invitation_id, now=self.now)


@invitations.route("/<uuid:invitation_id>/resend/")
class ResendInvitation(Resource):
    """Sending an invitation again."""

    @needs(Permission.USERS_WRITE)
    @invitations.answers(
        schemas.InvitationOut, raises=(NotFound, RoleNotYours, service.InvitationClosed, service.TooManyLetters)
    )
    def post(self, invitation_id: UUID) -> Any:
        """Send an invitation again, with a new link for seven days; earlier links stop working."""
        return service.resend(self.session, self.principal, self.services, invitation_id=invitation_id, now=self.now)


@invitations.route("/accept/")
class AcceptInvitation(Resource):
    """Accepting an invitation."""

    @public
    @limited("login_address")
    @secret
    @invitations.body(schemas.AcceptIn)
    @invitations.answers(
        schemas.AcceptedOut, raises=(TokenSpent, AlreadyMember, MemberDisabled, OrganizationSuspended, PasswordsBusy)
    )
    def post(self, **given: Any) -> dict[str, Any]:
        """Accept an invitation, once, with the token of its e-mail."""
        return service.accept(self.session, self.services, **given, now=self.now)
