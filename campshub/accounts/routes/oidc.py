"""The endpoints of ID tokens of other issuers, and of the linked identities."""

from typing import Any
from uuid import UUID

from campshub.accounts.queries import signing_in as queries
from campshub.accounts.routes.signing_in import auth, client
from campshub.accounts.schemas import oidc as schemas
from campshub.accounts.schemas.signing_in import TokenOut
from campshub.accounts.service import oidc as service
from campshub.accounts.service.attempts import TooManyAtOnce
from campshub.accounts.service.mfa import BadOtp, OtpRequired, StepUpRequired
from campshub.accounts.service.sessions import NoMembership
from campshub.core.errors import NotFound
from campshub.core.http.decorators import limited, named, needs, public, secret
from campshub.core.http.routing import Resource
from campshub.core.security.jwks import IssuerUnavailable
from campshub.core.security.oidc import BadIdToken
from campshub.core.security.permissions import Permission


@auth.route("/oidc/")
class IdToken(Resource):
    """Signing in with an ID token."""

    @public
    @named("signInWithIdToken")
    @limited("login_address")
    @secret
    @auth.body(schemas.IdTokenIn)
    @auth.answers(
        TokenOut,
        raises=(BadIdToken, OtpRequired, BadOtp, NoMembership, service.IdentityTaken, TooManyAtOnce, IssuerUnavailable),
    )
    def post(self, **given: Any) -> dict[str, Any]:
        """Exchange an ID token of a configured issuer, once, for our tokens."""
        return service.sign_in(self.session, self.services, **given, client=client(), now=self.now)


@auth.route("/oidc/identities/")
class Identities(Resource):
    """The caller's identities at other issuers."""

    @needs(Permission.ME_READ)
    @auth.answers(schemas.IdentitiesOut)
    def get(self) -> dict[str, Any]:
        """List your identities at other issuers."""
        return {"items": queries.identities_of(self.session, self.principal.user_id)}

    @needs(Permission.ME_WRITE)
    @named("linkIdentity")
    @limited("login")
    @secret
    @auth.body(schemas.IdentityIn)
    @auth.answers(
        schemas.IdentityOut,
        status=201,
        raises=(BadIdToken, StepUpRequired, service.IdentityTaken, service.TooManyIdentities, IssuerUnavailable),
    )
    def post(self, **given: Any) -> Any:
        """Link the identity of an ID token to you; from then on you can sign in with it."""
        return service.link(self.session, self.principal, self.services, **given, now=self.now)


@auth.route("/oidc/identities/<uuid:identity_id>/")
class OneIdentity(Resource):
    """One of the caller's identities at other issuers."""

    @needs(Permission.ME_WRITE)
    @auth.answers(None, raises=(NotFound, StepUpRequired))
    def delete(self, identity_id: UUID) -> None:
        """Remove one of your identities."""
        service.unlink(self.session, self.principal, self.services, identity_id=identity_id, now=self.now)
