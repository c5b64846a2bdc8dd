"""What the outbox owes to users: letters."""

from uuid import UUID

from campshub.accounts import letters
from campshub.accounts.models import Invitation, Organization, User
from campshub.accounts.queries.signing_in import credentials_of
from campshub.accounts.service import invitations, passwords
from campshub.core.db.work import unit_of_work
from campshub.core.jobs.sending import Owed, job
from campshub.core.platform import Platform


@job("accounts.forgot_password")
def forgot_password(platform: Platform, owed: Owed, *, email: str) -> None:
    """Send a link for a new password, if anyone has the address."""
    address = platform.ring.open(email, context=owed.job).decode()
    with unit_of_work(system=True) as session:
        found = passwords.prepare_reset(session, platform, email=address, reset_id=owed.id, now=session.unit.now)
    if found is not None:
        user, token = found
        link = f"{platform.settings.public_url}/reset-password#token={token}"
        platform.mailer.send(letters.reset(owed.id, to=user.email, link=link, token=token, at=owed.created_at))


@job("accounts.tell_of_lockout")
def tell_of_lockout(platform: Platform, owed: Owed, *, email: str) -> None:
    """Tell a user that their account is held, if anyone has the address."""
    address = platform.ring.open(email, context=owed.job).decode()
    with unit_of_work(system=True) as session:
        known = credentials_of(session, address)
        user = session.get(User, known.user_id) if known else None
    if user is not None and user.status == "active":
        platform.mailer.send(letters.lockout(owed.id, to=user.email, link=_forgot(platform), at=owed.created_at))


@job("accounts.tell_of_new_password")
def tell_of_new_password(platform: Platform, owed: Owed, *, user_id: str) -> None:
    """Tell a user that their password has been changed."""
    with unit_of_work(system=True) as session:
        user = session.get(User, UUID(user_id))
    if user is not None:
        letter = letters.new_password(owed.id, to=user.email, link=_forgot(platform), at=owed.created_at)
        platform.mailer.send(letter)


@job("accounts.invite")
def invite(platform: Platform, owed: Owed, *, invitation_id: str) -> None:
    """Send an invitation, if it is still open."""
    with unit_of_work(system=True, organization_id=owed.organization_id) as session:
        invited = session.get(Invitation, (owed.organization_id, UUID(invitation_id)))
        organization = session.get(Organization, owed.organization_id)
    if invited is None or organization is None or invited.accepted_at or invited.revoked_at:
        return
    token = invitations.token_of(platform, owed.organization_id, invited.id)
    link = f"{platform.settings.public_url}/invitation#token={token}"
    platform.mailer.send(
        letters.invitation(
            owed.id, to=invited.email, organization=organization.name, link=link, token=token, at=owed.created_at
        )
    )


def _forgot(platform: Platform) -> str:
    return f"{platform.settings.public_url}/forgot-password"
