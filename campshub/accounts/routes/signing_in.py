"""The endpoint of sign-in with a password."""

from collections.abc import Mapping
from typing import Any

from flask import request

from campshub.accounts.schemas import signing_in as schemas
from campshub.accounts.service import sessions
from campshub.accounts.service import signing_in as service
from campshub.accounts.service.attempts import TooManyAtOnce
from campshub.accounts.service.mfa import BadOtp, OtpRequired
from campshub.core.http.decorators import limited, named, public, secret
from campshub.core.http.routing import Blueprint, Resource
from campshub.core.normalization import email_key
from campshub.core.security.passwords import PasswordsBusy

auth = Blueprint("auth", __name__, url_prefix="/api/auth", description="Signing in.")


def account(given: Mapping[str, Any]) -> str:
    """Return the normalized account name of a request body."""
    return email_key(given["email"])


def client() -> str:
    """Return the client's User-Agent."""
    return request.user_agent.string


@auth.route("/token/")
class Token(Resource):
    """Signing in with a password."""

    @public
    @named("signIn")
    @limited("login_address")
    @limited("login", by=account)
    @secret
    @auth.body(schemas.TokenIn)
    @auth.answers(
        schemas.TokenOut,
        raises=(service.BadCredentials, OtpRequired, BadOtp, sessions.NoMembership, TooManyAtOnce, PasswordsBusy),
    )
    def post(self, **given: Any) -> dict[str, Any]:
        """Sign in with e-mail address and password."""
        return service.sign_in(self.session, self.services, **given, client=client(), now=self.now)
