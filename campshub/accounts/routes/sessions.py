"""The endpoints of sign-in sessions: refresh, switch, list and end."""

from typing import Any
from uuid import UUID

from campshub.accounts.queries import sessions as queries
from campshub.accounts.routes.signing_in import auth, client
from campshub.accounts.schemas import signing_in as schemas
from campshub.accounts.service import sessions as service
from campshub.core.errors import NotFound
from campshub.core.http.decorators import limited, named, needs, public, secret
from campshub.core.http.routing import Resource
from campshub.core.security.authorization import OrganizationSuspended
from campshub.core.security.permissions import Permission


@auth.route("/refresh/")
class Refresh(Resource):
    """Refreshing a session."""

    @public
    @named("refreshToken")
    @limited("refresh")
    @secret
    @auth.body(schemas.RefreshIn)
    @auth.answers(schemas.RefreshOut, raises=(service.BadRefreshToken, OrganizationSuspended))
    def post(self, *, refresh_token: str) -> dict[str, Any]:
        """Exchange a refresh token for the next one and a new access token.

        The same token sent again within 10 seconds gives the same successor. Later it ends the session.
        """
        return service.refresh(self.session, self.services, refresh_token=refresh_token, now=self.now)


@auth.route("/switch/")
class Switch(Resource):
    """Switching to another organization."""

    @needs(Permission.ME_WRITE)
    @named("switchOrganization")
    @secret
    @auth.body(schemas.SwitchIn)
    @auth.answers(schemas.TokenOut, raises=(service.NoMembership,))
    def post(self, *, organization_id: UUID) -> dict[str, Any]:
        """Open a session in another of your organizations; the current one continues."""
        return service.switch(
            self.session, self.principal, self.services, organization_id=organization_id, client=client()
        )


@auth.route("/logout/")
class Logout(Resource):
    """Signing out."""

    @needs(Permission.ME_WRITE)
    @named("signOut")
    @auth.answers(None)
    def post(self) -> None:
        """End the current session; its access tokens are refused from the next request on."""
        service.sign_out(self.session, self.principal, now=self.now)


@auth.route("/logout/everywhere/")
class LogoutEverywhere(Resource):
    """Signing out of every session."""

    @needs(Permission.ME_WRITE)
    @named("signOutEverywhere")
    @auth.answers(None)
    def post(self) -> None:
        """End all of your sessions, in every organization."""
        service.sign_out_everywhere(self.session, self.principal)


@auth.route("/sessions/")
class Sessions(Resource):
    """The caller's sessions."""

    @needs(Permission.ME_READ)
    @auth.answers_page(schemas.SessionOut, sorts=("created",))
    def get(self, *, page: Any) -> Any:
        """List your sessions in this organization."""
        return queries.list_sessions(self.session, self.principal, page=page)


@auth.route("/sessions/<uuid:sign_in_id>/")
class OneSession(Resource):
    """One of the caller's sessions."""

    @needs(Permission.ME_WRITE)
    @auth.answers(None, raises=(NotFound,))
    def delete(self, sign_in_id: UUID) -> None:
        """End a session; its access tokens are refused from the next request on."""
        service.end(self.session, self.principal, session_id=sign_in_id, now=self.now)
