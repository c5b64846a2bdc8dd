"""The addresses of sessions: refreshing, switching, listing and ending them."""

from typing import Any
from uuid import UUID

from campshub.accounts.queries import sessions as queries
from campshub.accounts.routes.signing_in import auth, client
from campshub.accounts.schemas import signing_in as schemas
from campshub.accounts.service import sessions as service
from campshub.core.errors import NotFound
from campshub.core.http.decorators import limited, named, needs, public, secret
from campshub.core.http.routing import Resource
from campshub.core.security.grants import OrganizationSuspended
from campshub.core.security.permissions import Permission


@auth.route("/refresh/")
class Refresh(Resource):
    """Carrying a session on."""

    @public
    @named("refreshToken")
    @limited("refresh")
    @secret
    @auth.body(schemas.RefreshIn)
    @auth.answers(schemas.RefreshOut, raises=(service.BadRefreshToken, OrganizationSuspended))
    def post(self, *, refresh_token: str) -> dict[str, Any]:
        """Exchange a refresh token for the next one and a new access token.

        Asking again with the same token within 10 seconds gives the same one. Later it ends the session.
        """
        return service.refresh(self.session, self.services, refresh_token=refresh_token, now=self.now)


@auth.route("/switch/")
class Switch(Resource):
    """Going on in another organization."""

    @needs(Permission.ME_WRITE)
    @named("switchOrganization")
    @secret
    @auth.body(schemas.SwitchIn)
    @auth.answers(schemas.TokenOut, raises=(service.NoMembership,))
    def post(self, *, organization_id: UUID) -> dict[str, Any]:
        """Open a session in another organization that one belongs to; the present one goes on."""
        return service.switch(
            self.session, self.services, self.principal, organization_id=organization_id, client=client()
        )


@auth.route("/logout/")
class Logout(Resource):
    """Signing out."""

    @needs(Permission.ME_WRITE)
    @named("signOut")
    @auth.answers(None)
    def post(self) -> None:
        """End the present session; its access tokens stop at the next request."""
        service.sign_out(self.session, self.principal, now=self.now)


@auth.route("/logout/everywhere/")
class LogoutEverywhere(Resource):
    """Signing out of every session."""

    @needs(Permission.ME_WRITE)
    @named("signOutEverywhere")
    @auth.answers(None)
    def post(self) -> None:
        """End all of one's sessions, in every organization."""
        service.sign_out_everywhere(self.session, self.principal)


@auth.route("/sessions/")
class Sessions(Resource):
    """One's own sessions."""

    @needs(Permission.ME_READ)
    @auth.answers_page(schemas.SessionOut, sorts=("created",))
    def get(self, *, page: Any) -> Any:
        """List one's own sessions in this organization."""
        return queries.list_sessions(self.session, self.principal, page=page)


@auth.route("/sessions/<uuid:sign_in_id>/")
class OneSession(Resource):
    """One of one's own sessions."""

    @needs(Permission.ME_WRITE)
    @auth.answers(None, raises=(NotFound,))
    def delete(self, sign_in_id: UUID) -> None:
        """End a session; its access tokens stop at the next request."""
        service.end(self.session, self.principal, session_id=sign_in_id, now=self.now)
