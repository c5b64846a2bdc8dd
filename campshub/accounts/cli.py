"""``flask organizations``, ``flask users``, ``flask api-keys`` and ``flask audit``."""

import re
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import available_timezones

import click
from flask import current_app
from flask.cli import AppGroup

from campshub.accounts.queries.api_keys import organizations_with
from campshub.accounts.queries.audit import every_entry
from campshub.accounts.queries.signing_in import credentials_of, memberships_of
from campshub.accounts.service import organizations as service
from campshub.accounts.service import passwords, sessions
from campshub.accounts.service.api_keys import revoke_leaked
from campshub.core.db.base import AnyRow, new_id
from campshub.core.db.work import unit_of_work
from campshub.core.http.problems import Invalid, Problem
from campshub.core.http.serialise import write
from campshub.core.ops.files import new_file
from campshub.core.platform import Platform
from campshub.core.security.passwords import SHORTEST
from campshub.core.security.permissions import Role

organizations = AppGroup("organizations", help="Organizations: the tenants of this installation.")
users = AppGroup("users", help="The people who can sign in.")
audit = AppGroup("audit", help="The audit log: who changed what.")
api_keys = AppGroup("api-keys", help="Keys with which programs and kiosks ask.")
commands = (organizations, users, audit, api_keys)
_PREFIXED = re.compile(r"(?:chk_)?([0-9A-Za-z]{12})(?:_[0-9A-Za-z]*)?")


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


@api_keys.command("revoke")
@click.option("--prefix", required=True, help="What stands between the underscores; the whole key will do.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
def revoke_key(*, prefix: str, yes: bool, as_json: bool) -> None:
    """Revoke a key that has leaked, whoever it belongs to.

    Example: flask api-keys revoke --prefix 3hT9sQbX0aLm
    """
    named = _PREFIXED.fullmatch(prefix.strip())
    if named is None:
        raise click.ClickException("A prefix has 12 letters and digits.")
    if not yes:
        click.confirm("Whatever uses this key will stop. Go on?", abort=True, err=True)
    with unit_of_work(system=True, read_only=True) as session:
        owners = organizations_with(session, named[1])
    ids = []
    for owner in owners:
        with unit_of_work(system=True, organization_id=owner) as session:
            found = revoke_leaked(session, organization_id=owner, prefix=named[1], now=session.unit.now)
            ids += [key.id for key in found]
    if not ids:
        raise click.ClickException(f"No key that holds has the prefix {named[1]}.")
    _say(as_json, f"Revoked {', '.join(map(str, ids))}.", ids=ids)


def _find(email: str) -> tuple[UUID, list[AnyRow]]:
    with unit_of_work(system=True, read_only=True) as session:
        known = credentials_of(session, email)
        memberships = memberships_of(session, known.user_id) if known else []
    if known is None or not memberships:
        raise click.ClickException(f"Nobody who belongs to an active organization has the address {email}.")
    return known.user_id, memberships


def _say(as_json: bool, sentence: str, **facts: Any) -> None:  # noqa: FBT001 - a flag of the command line
    click.echo(write(facts).decode() if as_json else sentence)


@audit.command("export")
@click.option("--organization", "organization_id", required=True, type=click.UUID)
@click.option("--from", "first", type=click.DateTime(["%Y-%m-%d"]), help="The first date (UTC); else the very first.")
@click.option("--to", "last", type=click.DateTime(["%Y-%m-%d"]), help="The last date (UTC); else today.")
@click.option("--output", required=True, type=click.Path(path_type=Path), help="A new file; its owner alone reads it.")
def export(*, organization_id: UUID, first: datetime | None, last: datetime | None, output: Path) -> None:
    """Write an organization's audit log to a file, one entry of JSON a line, with names in the clear.

    Example: flask audit export --organization 0198... --from 2026-01-01 --output audit-2026.ndjson
    """
    platform: Platform = current_app.extensions["campshub"]
    dates = {"first": first.date() if first else date.min, "last": last.date() if last else datetime.now(UTC).date()}
    with unit_of_work(read_only=True, organization_id=organization_id) as session:
        if session.enter(organization_id).organization_status is None:
            raise click.ClickException(f"There is no organization {organization_id}.")
        with new_file(output) as file:
            count = 0
            for entry in every_entry(session, organization_id, platform.ring, **dates):
                file.write(write(entry) + b"\n")
                count += 1
    click.echo(f"Wrote {count} entries to {output}.")
