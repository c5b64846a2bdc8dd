"""``flask users``: create admins, reset passwords, end sessions."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import click
from flask import current_app
from flask.cli import AppGroup

from campshub.accounts.queries.signing_in import credentials_of, memberships_of
from campshub.accounts.service import organizations as service
from campshub.accounts.service import passwords, sessions
from campshub.core.commands.options import NAME, email_option, json_option, organization_option, say
from campshub.core.db.models import AnyRow
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.errors import Invalid, Problem
from campshub.core.security.passwords import SHORTEST
from campshub.core.security.permissions import Role
from campshub.core.service_base import Services

users = AppGroup("users", help="The people who can sign in.")


@users.command("create-admin")
@organization_option
@email_option
@click.option("--name", type=NAME, default="Admin", show_default=True)
@click.option("--password", prompt=True, hide_input=True, confirmation_prompt=True)
@click.option("--superadmin", is_flag=True, help="For the platform's staff.")
@json_option
def create_admin(
    *, organization_id: Any, email: str, name: str, password: str, superadmin: bool, as_json: bool
) -> None:
    """Create an admin of an organization.

    Example: flask users create-admin --organization 0198... --email head@example.org
    """
    services: Services = current_app.extensions["campshub"]
    try:
        services.passwords.require_good(password, least=SHORTEST, email=email)
    except Invalid as refused:
        raise click.ClickException(f"Password: {refused.errors[0].detail}") from refused
    hashed = services.passwords.hash(password)
    with unit_of_work(system=True, organization_id=organization_id) as session:
        caller_row = session.enter(organization_id)
        if caller_row.organization_status is None:
            raise click.ClickException(f"There is no organization {organization_id}.")
        try:
            user = service.create_user(
                session,
                organization_id=organization_id,
                email=email,
                name=name,
                role=Role.SUPERADMIN if superadmin else Role.ADMIN,
                password_hash=hashed,
                now=datetime.now(UTC),
            )
        except Problem as problem:
            raise click.ClickException(problem.detail) from problem
        user_id = user.id
    say(as_json, f"Created {email}: {user_id}", id=user_id, email=email)


@users.command("reset-password")
@email_option
@click.option("--password", prompt=True, hide_input=True, confirmation_prompt=True)
@json_option
def reset_password(*, email: str, password: str, as_json: bool) -> None:
    """Replace a user's password; all of their sessions end.

    Example: flask users reset-password --email head@example.org
    """
    services: Services = current_app.extensions["campshub"]
    user_id, memberships = _find(email)
    try:
        services.passwords.require_good(password, least=passwords.least_length(memberships), email=email)
    except Invalid as refused:
        raise click.ClickException(f"Password: {refused.errors[0].detail}") from refused
    hashed = services.passwords.hash(password)
    with unit_of_work(system=True, organization_id=memberships[0].organization_id) as session:
        passwords.replace(session, services, user_id=user_id, email=email, hashed=hashed)
    say(as_json, f"{email} has a new password and must sign in again.", id=user_id, email=email)


@users.command("sign-out")
@email_option
@json_option
def sign_out(*, email: str, as_json: bool) -> None:
    """End all sessions of a user, in every organization.

    Example: flask users sign-out --email head@example.org
    """
    user_id, memberships = _find(email)
    with unit_of_work(system=True, organization_id=memberships[0].organization_id) as session:
        sessions.end_everywhere(session, user_id)
    say(as_json, f"{email} is signed out.", id=user_id, email=email)


def _find(email: str) -> tuple[UUID, list[AnyRow]]:
    with unit_of_work(system=True, read_only=True) as session:
        known = credentials_of(session, email)
        memberships = memberships_of(session, known.user_id) if known else []
    if known is None or not memberships:
        raise click.ClickException(f"No one in an active organization has the address {email}.")
    return known.user_id, memberships
