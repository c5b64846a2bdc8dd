"""The endpoints of the second factor, and of confirming the password again."""

from typing import Any

from campshub.accounts.routes.signing_in import auth
from campshub.accounts.schemas import mfa as schemas
from campshub.accounts.service import mfa as service
from campshub.accounts.service.attempts import TooManyAtOnce
from campshub.core.http.decorators import limited, named, needs, secret
from campshub.core.http.routing import Resource
from campshub.core.security.passwords import PasswordsBusy
from campshub.core.security.permissions import Permission


@auth.route("/mfa/")
class Mfa(Resource):
    """The caller's second factor."""

    @needs(Permission.ME_READ)
    @auth.answers(schemas.MfaOut)
    def get(self) -> dict[str, Any]:
        """Show whether you have a second factor."""
        return service.state_of(service.show(self.session, self.principal.user_id))

    @needs(Permission.ME_WRITE)
    @auth.answers(None, raises=(service.StepUpRequired, service.MfaRequiredByRole))
    def delete(self) -> None:
        """Remove your second factor."""
        service.remove(self.session, self.principal, self.services, now=self.now)


@auth.route("/mfa/totp/")
class Totp(Resource):
    """One-time codes."""

    @needs(Permission.ME_WRITE)
    @named("startTotp")
    @secret
    @auth.answers(schemas.TotpOut, raises=(service.StepUpRequired, service.MfaStateConflict))
    def post(self) -> dict[str, str]:
        """Begin to set up one-time codes; they are active once you confirm the first one."""
        return service.enrol(self.session, self.principal, self.services, now=self.now)


@auth.route("/mfa/totp/confirm/")
class ConfirmTotp(Resource):
    """The first one-time code."""

    @needs(Permission.ME_WRITE)
    @limited("login")
    @secret
    @auth.body(schemas.ConfirmIn)
    @auth.answers(schemas.RecoveryCodesOut, raises=(service.MfaStateConflict,))
    def post(self, *, otp: str) -> dict[str, list[str]]:
        """Confirm one-time codes with the first of them; from then on each sign-in requires one."""
        return {"recovery_codes": service.confirm(self.session, self.principal, self.services, otp=otp, now=self.now)}


@auth.route("/mfa/recovery-codes/")
class RecoveryCodes(Resource):
    """Recovery codes."""

    @needs(Permission.ME_WRITE)
    @named("replaceRecoveryCodes")
    @secret
    @auth.answers(schemas.RecoveryCodesOut, raises=(service.StepUpRequired, service.MfaStateConflict))
    def post(self) -> dict[str, list[str]]:
        """Replace your recovery codes."""
        return {"recovery_codes": service.renew_codes(self.session, self.principal, self.services, now=self.now)}


@auth.route("/step-up/")
class StepUp(Resource):
    """Confirming the password again."""

    @needs(Permission.ME_WRITE)
    @named("stepUp")
    @limited("login")
    @secret
    @auth.body(schemas.StepUpIn)
    @auth.answers(None, raises=(service.OtpRequired, service.BadOtp, TooManyAtOnce, PasswordsBusy))
    def post(self, **given: Any) -> None:
        """Confirm your password: some operations need it in the last 10 minutes (`STEP_UP_MINUTES`).

        Without it they answer 403 `step_up_required`. A sign-in counts too.
        """
        service.step_up(self.session, self.principal, self.services, **given, now=self.now)
