"""``flask organizations`` and ``flask users``."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import available_timezones

import click
from flask import current_app
from flask.cli import AppGroup

from campshub.accounts.queries.signing_in import credentials_of, memberships_of
from campshub.accounts.service import exporting, passwords, sessions, states
from campshub.accounts.service import organizations as service
from campshub.core.db.base import AnyRow, new_id
from campshub.core.db.work import unit_of_work
from campshub.core.http.problems import Invalid, Problem
from campshub.core.http.serialise import write
from campshub.core.platform import Platform
from campshub.core.security.passwords import SHORTEST
from campshub.core.security.permissions import Role

organizations = AppGroup("organizations", help="Organizations: the tenants of this installation.")
users = AppGroup("users", help="The people who can sign in.")
commands = (organizations, users)


@organizations.command("create")
@click.option("--name", required=True)
@click.option("--time-zone", default="UTC", show_default=True)
@click.option("--currency", default="EUR", show_default=True)
@click.option("--locale", default="en", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
def create(*, name: str, time_zone: str, currency: str, locale: str, as_json: bool) -> None:
    """Create an organization.

    Example: flask organizations create --name "Hill Camp" --time-zone Asia/Kolkata --currency INR
    """
    if time_zone not in available_timezones():
        raise click.ClickException(f"{time_zone} is not a time zone of the IANA database, such as Asia/Kolkata.")
    organization_id = new_id()
    with unit_of_work(system=True, organization_id=organization_id) as session:
        service.create_organization(
            session,
            organization_id=organization_id,
            name=name,
            time_zone=time_zone,
            currency=currency.upper(),
            locale=locale,
        )
    _say(as_json, f"Created the organization {name}: {organization_id}", id=organization_id, name=name)


_organization = click.option("--organization", "organization_id", required=True, type=click.UUID)
_json = click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
_yes = click.option("--yes", is_flag=True, help="Do not ask.")


@organizations.command("suspend")
@_organization
@_json
def suspend(*, organization_id: UUID, as_json: bool) -> None:
    """Suspend an organization: nobody gets in, no job runs, and its data is kept.

    Example: flask organizations suspend --organization 0198...
    """
    _change(organization_id, "suspended", as_json=as_json)


@organizations.command("resume")
@_organization
@_json
def resume(*, organization_id: UUID, as_json: bool) -> None:
    """Let an organization that was suspended or closed go on.

    Example: flask organizations resume --organization 0198...
    """
    _change(organization_id, "active", as_json=as_json)


@organizations.command("close")
@_organization
@_yes
@_json
def close(*, organization_id: UUID, yes: bool, as_json: bool) -> None:
    """Close an organization: nobody gets in, and after ORGANIZATION_ERASE_DAYS its data may be erased.

    Example: flask organizations close --organization 0198...
    """
    if not yes:
        click.confirm(f"This closes {organization_id}: all of its users are out at once. Go on?", abort=True)
    _change(organization_id, "closed", as_json=as_json)


@organizations.command("export")
@_organization
@click.option("--output", required=True, type=click.Path(file_okay=False, path_type=Path), help="An empty folder.")
@_json
def export(*, organization_id: UUID, output: Path, as_json: bool) -> None:
    """Write all data of an organization into a folder: a file of NDJSON a table, what is sealed readable.

    Example: flask organizations export --organization 0198... --output hill-camp
    """
    output.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(output.iterdir()):
        raise click.ClickException(f"{output} is not empty.")
    with unit_of_work(system=True, organization_id=organization_id) as session:
        if session.enter(organization_id).organization_status is None:
            raise click.ClickException(f"There is no organization {organization_id}.")
        exporting.note_export(session, organization_id=organization_id)
    platform: Platform = current_app.extensions["campshub"]
    manifest = exporting.export(platform, organization_id=organization_id, folder=output, now=datetime.now(UTC))
    rows = sum(file["rows"] for file in manifest["files"].values())
    _say(as_json, f"Wrote {rows:,} rows in {len(manifest['files'])} files into {output}.", **manifest)


@organizations.command("erase-closed")
@click.option("--organization", "only", type=click.UUID, help="This one alone.")
@click.option("--batch", default=5_000, show_default=True, type=click.IntRange(1, 100_000), help="Rows at a time.")
@_yes
@_json
def erase_closed(*, only: UUID | None, batch: int, yes: bool, as_json: bool) -> None:
    """Erase the organizations that were closed longer than ORGANIZATION_ERASE_DAYS ago, for ever.

    What was broken off goes on where it stopped.

    Example: flask organizations erase-closed --yes
    """
    days = current_app.extensions["campshub"].settings.organization_erase_days
    with unit_of_work(system=True, read_only=True) as session:
        found = states.due(session, before=datetime.now(UTC) - timedelta(days=days))
    wanted = found if only is None else [only]
    if wanted and not yes:
        names = ", ".join(str(one) for one in wanted)
        click.confirm(f"This erases all data of {len(wanted)} organizations for ever: {names}. Go on?", abort=True)
    erased = {str(one): _erase(one, days=days, batch=batch) for one in wanted}
    _say(as_json, f"Erased {len(erased)} organizations, {sum(erased.values()):,} rows.", erased=erased)


@users.command("create-admin")
@click.option("--organization", "organization_id", required=True, type=click.UUID)
@click.option("--email", required=True)
@click.option("--name", default="Admin", show_default=True)
@click.option("--password", prompt=True, hide_input=True, confirmation_prompt=True)
@click.option("--superadmin", is_flag=True, help="For the platform's own people.")
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
def create_admin(
    *, organization_id: Any, email: str, name: str, password: str, superadmin: bool, as_json: bool
) -> None:
    """Create a user who administers an organization.

    Example: flask users create-admin --organization 0198... --email head@example.org
    """
    platform: Platform = current_app.extensions["campshub"]
    try:
        platform.passwords.require_good(password, least=SHORTEST, email=email)
    except Invalid as refused:
        raise click.ClickException(f"The password: {refused.errors[0].detail}") from refused
    hashed = platform.passwords.hash(password)
    with unit_of_work(system=True, organization_id=organization_id) as session:
        entered = session.enter(organization_id)
        if entered.organization_status is None:
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
    _say(as_json, f"Created {email}: {user_id}", id=user_id, email=email)


@users.command("reset-password")
@click.option("--email", required=True)
@click.option("--password", prompt=True, hide_input=True, confirmation_prompt=True)
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
def reset_password(*, email: str, password: str, as_json: bool) -> None:
    """Give a user another password; all of their sessions end.

    Example: flask users reset-password --email head@example.org
    """
    platform: Platform = current_app.extensions["campshub"]
    user_id, memberships = _find(email)
    try:
        platform.passwords.require_good(password, least=passwords.least_length(memberships), email=email)
    except Invalid as refused:
        raise click.ClickException(f"The password: {refused.errors[0].detail}") from refused
    hashed = platform.passwords.hash(password)
    with unit_of_work(system=True, organization_id=memberships[0].organization_id) as session:
        passwords.replace(session, platform, user_id=user_id, email=email, hashed=hashed)
    _say(as_json, f"{email} has another password, and has to sign in anew.", id=user_id, email=email)


@users.command("sign-out")
@click.option("--email", required=True)
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
def sign_out(*, email: str, as_json: bool) -> None:
    """End all sessions of a user, in every organization.

    Example: flask users sign-out --email head@example.org
    """
    user_id, memberships = _find(email)
    with unit_of_work(system=True, organization_id=memberships[0].organization_id) as session:
        sessions.end_everywhere(session, user_id)
    _say(as_json, f"{email} is signed out.", id=user_id, email=email)


def _change(organization_id: UUID, status: str, *, as_json: bool) -> None:
    try:
        with unit_of_work(system=True, organization_id=organization_id) as session:
            changed = states.change(session, organization_id=organization_id, status=status, now=session.unit.now)
            name = changed.name
    except Problem as problem:
        raise click.ClickException(f"{organization_id}: {problem.detail}") from problem
    _say(as_json, f"{name} is {status}.", id=organization_id, status=status)


def _erase(organization_id: UUID, *, days: int, batch: int) -> int:
    """Erase one organization, a unit of work each batch; return how many rows."""
    try:
        with unit_of_work(system=True, organization_id=organization_id) as session:
            states.begin_erasure(session, organization_id=organization_id, days=days, now=session.unit.now)
    except Problem as problem:
        raise click.ClickException(f"{organization_id}: {problem.detail}") from problem
    total = 0
    while True:
        with unit_of_work(system=True, organization_id=organization_id) as session:
            step = states.erase_next(session, organization_id=organization_id, most=batch, now=session.unit.now)
        if step is None:
            return total
        total += step[1]
        click.echo(f"{organization_id}: {step[0]}, {step[1]} rows", err=True)


def _find(email: str) -> tuple[UUID, list[AnyRow]]:
    with unit_of_work(system=True, read_only=True) as session:
        known = credentials_of(session, email)
        memberships = memberships_of(session, known.user_id) if known else []
    if known is None or not memberships:
        raise click.ClickException(f"Nobody who belongs to an active organization has the address {email}.")
    return known.user_id, memberships


def _say(as_json: bool, sentence: str, **facts: Any) -> None:  # noqa: FBT001 - a flag of the command line
    click.echo(write(facts).decode() if as_json else sentence)
