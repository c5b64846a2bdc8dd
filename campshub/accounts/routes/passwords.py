"""The endpoints of passwords: change, and reset by e-mail."""

from typing import Any

from campshub.accounts.routes.signing_in import account, auth, client
from campshub.accounts.schemas import passwords as schemas
from campshub.accounts.schemas.signing_in import RefreshOut
from campshub.accounts.service import passwords as service
from campshub.accounts.service.attempts import TooManyAtOnce
from campshub.accounts.service.mfa import BadOtp, OtpRequired
from campshub.core.http.decorators import limited, named, needs, public, secret
from campshub.core.http.routing import Resource
from campshub.core.security.passwords import PasswordsBusy
from campshub.core.security.permissions import Permission


@auth.route("/password/")
class Password(Resource):
    """The caller's password."""

    @needs(Permission.ME_WRITE)
    @named("changePassword")
    @secret
    @auth.body(schemas.PasswordIn)
    @auth.answers(RefreshOut, raises=(OtpRequired, BadOtp, TooManyAtOnce, PasswordsBusy))
    def post(self, **given: Any) -> dict[str, Any]:
        """Change your password: other sessions end, and this one continues with the tokens in the response."""
        return service.change(self.session, self.principal, self.services, **given, client=client(), now=self.now)


@auth.route("/password/forgot/")
class ForgotPassword(Resource):
    """Forgotten passwords."""

    @public
    @named("requestPasswordReset")
    @limited("login_address")
    @limited("login", by=account)
    @secret
    @auth.body(schemas.ForgotIn)
    @auth.answers(None, status=202)
    def post(self, *, email: str) -> None:
        """Send a link for a new password if a user has this address; the response is the same if no user has it."""
        service.forgot(self.session, self.services, email=email)


@auth.route("/password/reset/")
class ResetPassword(Resource):
    """New passwords for forgotten ones."""

    @public
    @limited("login_address")
    @secret
    @auth.body(schemas.ResetIn)
    @auth.answers(None, raises=(service.TokenSpent, PasswordsBusy))
    def post(self, **given: Any) -> None:
        """Set a new password with the token of an e-mail; every session ends."""
        service.reset(self.session, self.services, **given)
