"""The jobs of accounts: e-mails to users, erasure of closed organizations, row retention."""

from datetime import timedelta
from uuid import UUID

from campshub.accounts import emails
from campshub.accounts.models import (
    ExchangedIdToken,
    Invitation,
    Organization,
    PasswordReset,
    SignInAttempt,
    SignInSession,
    User,
)
from campshub.accounts.queries.signing_in import credentials_of
from campshub.accounts.service import invitations, lifecycle, passwords
from campshub.core.db.retention import expires
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.jobs.registry import HOUR_S, Queue, Run, external_job
from campshub.core.jobs.schedule import Daily, scheduled
from campshub.core.security.opaque import hash_of
from campshub.core.service_base import Services

ERASED_AT_ONCE = 5_000

expires(ExchangedIdToken, "expires_at < now() - INTERVAL '1 hour'")
expires(PasswordReset, "expires_at < now() - INTERVAL '1 day'")
expires(SignInAttempt, "last_at < now() - INTERVAL '30 days'")
# Token families are stored long after their end, so that late reuse of a stolen token is still detected.
expires(SignInSession, "expires_at < now() - INTERVAL '30 days'")


@external_job("accounts.forgot_password", queue=Queue.CRITICAL)
def forgot_password(run: Run, *, email: str) -> None:
    """Send a link for a new password, if a user has the address."""
    address = run.services.ring.open(email, context=run.job).decode()
    with unit_of_work(system=True) as session:
        found = passwords.prepare_reset(session, run.services, email=address, reset_id=run.id, now=session.unit.now)
    if found is not None:
        user, token = found
        link = f"{run.services.settings.public_url}/reset-password#token={token}"
        run.services.mailer.send(emails.reset(run.id, to=user.email, link=link, token=token, at=run.created_at))


@external_job("accounts.notify_of_lockout")
def notify_of_lockout(run: Run, *, email: str) -> None:
    """Notify a user that their account is locked out, if a user has the address."""
    address = run.services.ring.open(email, context=run.job).decode()
    with unit_of_work(system=True) as session:
        known = credentials_of(session, address)
        user = session.get(User, known.user_id) if known else None
    if user is not None and user.status == "active":
        run.services.mailer.send(
            emails.lockout(run.id, to=user.email, link=_reset_url(run.services), at=run.created_at)
        )


@external_job("accounts.notify_of_new_password")
def notify_of_new_password(run: Run, *, user_id: str) -> None:
    """Notify a user that their password has been changed."""
    with unit_of_work(system=True) as session:
        user = session.get(User, UUID(user_id))
    if user is not None:
        email = emails.new_password(run.id, to=user.email, link=_reset_url(run.services), at=run.created_at)
        run.services.mailer.send(email)


@external_job("accounts.invite")
def invite(run: Run, *, invitation_id: str, letter: int = 0) -> None:
    """Send an invitation, if it is still open and this is its latest e-mail."""
    with unit_of_work(system=True, organization_id=run.organization_id) as session:
        invited = session.get(Invitation, (run.organization_id, UUID(invitation_id)))
        organization = session.get(Organization, run.organization_id)
    if invited is None or organization is None or invited.accepted_at or invited.revoked_at:
        return
    token = invitations.token_of(run.services, run.organization_id, invited.id, email_number=letter)
    if invited.token_hash != hash_of(token):  # it has been sent again since
        return
    link = f"{run.services.settings.public_url}/invitation#token={token}"
    run.services.mailer.send(
        emails.invitation(
            run.id, to=invited.email, organization=organization.name, link=link, token=token, at=run.created_at
        )
    )


def _reset_url(services: Services) -> str:
    return f"{services.settings.public_url}/forgot-password"


@external_job("accounts.erase_closed", queue=Queue.MAINTENANCE, limit_s=6 * HOUR_S)
def erase_closed(run: Run) -> None:
    """Erase the organizations that are due, in batches with a unit of work each; a kill loses at most one batch."""
    days = run.services.settings.organization_erase_days
    with unit_of_work(system=True, read_only=True) as session:
        found = lifecycle.due(session, before=session.unit.now - timedelta(days=days))
    for organization_id in found:
        with unit_of_work(system=True, organization_id=organization_id) as session:
            lifecycle.begin_erasure(session, organization_id=organization_id, days=days, now=session.unit.now)
        while _erase_some(organization_id):
            pass


def _erase_some(organization_id: UUID) -> bool:
    """Erase a batch; return False if nothing was left."""
    with unit_of_work(system=True, organization_id=organization_id) as session:
        step = lifecycle.erase_next(session, organization_id=organization_id, most=ERASED_AT_ONCE, now=session.unit.now)
    return step is not None


scheduled("accounts.erase_closed", Daily(hour=1))
