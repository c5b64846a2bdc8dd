"""``flask organizations``: create, suspend, close, export and erase."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import click
from flask import current_app
from flask.cli import AppGroup

from campshub.accounts.service import exporting, lifecycle
from campshub.accounts.service import organizations as service
from campshub.core.commands.options import NAME, json_option, organization_option, say, yes_option
from campshub.core.db.models import new_id
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.errors import Problem
from campshub.core.service_base import Services
from campshub.core.time_zones import time_zones

organizations = AppGroup("organizations", help="Organizations: the tenants of this installation.")


@organizations.command("create")
@click.option("--name", type=NAME, required=True)
@click.option("--time-zone", default="UTC", show_default=True)
@click.option("--currency", default="EUR", show_default=True)
@click.option("--locale", default="en", show_default=True)
@json_option
def create(*, name: str, time_zone: str, currency: str, locale: str, as_json: bool) -> None:
    """Create an organization.

    Example: flask organizations create --name "Hill Camp" --time-zone Asia/Kolkata --currency INR
    """
    if time_zone not in time_zones():
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
    say(as_json, f"Created the organization {name}: {organization_id}", id=organization_id, name=name)


@organizations.command("set-plan")
@organization_option
@click.option(
    "--requests-per-hour", type=click.IntRange(1, 9_999_999), help="Per user and key; default: RATE_LIMIT_USER."
)
@json_option
def set_plan(*, organization_id: UUID, requests_per_hour: int | None, as_json: bool) -> None:
    """Set the rate limit of an organization's plan for each of its users and keys.

    Example: flask organizations set-plan --organization 0198... --requests-per-hour 5000
    """
    allowed = f"{requests_per_hour:,} requests an hour" if requests_per_hour else "what RATE_LIMIT_USER says"
    outcome = f"allows each user and key {allowed}, from their next access token on"
    _change(organization_id, outcome, as_json=as_json, requests_per_hour=requests_per_hour)


@organizations.command("suspend")
@organization_option
@json_option
def suspend(*, organization_id: UUID, as_json: bool) -> None:
    """Suspend an organization: no one can sign in, no job runs, and its data stays.

    Example: flask organizations suspend --organization 0198...
    """
    _change(organization_id, "is suspended", as_json=as_json, status="suspended")


@organizations.command("resume")
@organization_option
@json_option
def resume(*, organization_id: UUID, as_json: bool) -> None:
    """Resume a suspended or closed organization.

    Example: flask organizations resume --organization 0198...
    """
    _change(organization_id, "is active", as_json=as_json, status="active")


@organizations.command("close")
@organization_option
@yes_option
@json_option
def close(*, organization_id: UUID, yes: bool, as_json: bool) -> None:
    """Close an organization: no one can sign in, and after ORGANIZATION_ERASE_DAYS its data may be erased.

    Example: flask organizations close --organization 0198...
    """
    if not yes:
        click.confirm(f"This closes {organization_id}: all of its users lose access at once. Continue?", abort=True)
    _change(organization_id, "is closed", as_json=as_json, status="closed")


@organizations.command("export")
@organization_option
@click.option("--output", required=True, type=click.Path(file_okay=False, path_type=Path), help="An empty folder.")
@json_option
def export(*, organization_id: UUID, output: Path, as_json: bool) -> None:
    """Write all data of an organization into a folder: one NDJSON file per table, with encrypted columns decrypted.

    Example: flask organizations export --organization 0198... --output hill-camp
    """
    output.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(output.iterdir()):
        raise click.ClickException(f"{output} is not empty.")
    with unit_of_work(system=True, organization_id=organization_id) as session:
        if session.enter(organization_id).organization_status is None:
            raise click.ClickException(f"There is no organization {organization_id}.")
        exporting.record_export(session, organization_id=organization_id)
    services: Services = current_app.extensions["campshub"]
    manifest = exporting.export(services, organization_id=organization_id, folder=output, now=datetime.now(UTC))
    rows = sum(file["rows"] for file in manifest["files"].values())
    say(as_json, f"Wrote {rows:,} rows in {len(manifest['files'])} files into {output}.", **manifest)


@organizations.command("erase-closed")
@click.option("--organization", "only", type=click.UUID, help="Only this one.")
@click.option("--batch", default=5_000, show_default=True, type=click.IntRange(1, 100_000), help="Rows at a time.")
@yes_option
@json_option
def erase_closed(*, only: UUID | None, batch: int, yes: bool, as_json: bool) -> None:
    """Permanently erase the organizations that were closed more than ORGANIZATION_ERASE_DAYS ago.

    An interrupted erasure continues where it stopped.

    Example: flask organizations erase-closed --yes
    """
    days = current_app.extensions["campshub"].settings.organization_erase_days
    with unit_of_work(system=True, read_only=True) as session:
        found = lifecycle.due(session, before=datetime.now(UTC) - timedelta(days=days))
    wanted = found if only is None else [only]
    if wanted and not yes:
        names = ", ".join(str(one) for one in wanted)
        click.confirm(
            f"This permanently erases all data of {len(wanted)} organizations: {names}. Continue?", abort=True
        )
    erased = {str(one): _erase(one, days=days, batch=batch) for one in wanted}
    say(as_json, f"Erased {len(erased)} organizations, {sum(erased.values()):,} rows.", erased=erased)


def _change(organization_id: UUID, outcome: str, *, as_json: bool, **changes: Any) -> None:
    try:
        with unit_of_work(system=True, organization_id=organization_id) as session:
            changed = lifecycle.change(session, organization_id=organization_id, now=session.unit.now, **changes)
            name = changed.name
    except Problem as problem:
        raise click.ClickException(f"{organization_id}: {problem.detail}") from problem
    say(as_json, f"{name} {outcome}.", id=organization_id, **changes)


def _erase(organization_id: UUID, *, days: int, batch: int) -> int:
    """Erase one organization with a unit of work per batch; return the number of rows."""
    try:
        with unit_of_work(system=True, organization_id=organization_id) as session:
            lifecycle.begin_erasure(session, organization_id=organization_id, days=days, now=session.unit.now)
    except Problem as problem:
        raise click.ClickException(f"{organization_id}: {problem.detail}") from problem
    total = 0
    while True:
        with unit_of_work(system=True, organization_id=organization_id) as session:
            step = lifecycle.erase_next(session, organization_id=organization_id, most=batch, now=session.unit.now)
        if step is None:
            return total
        total += step[1]
        click.echo(f"{organization_id}: {step[0]}, {step[1]} rows", err=True)
