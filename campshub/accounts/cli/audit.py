"""``flask audit``: export the audit log to a file."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import BinaryIO
from uuid import UUID

import click
from flask import current_app
from flask.cli import AppGroup

from campshub.accounts.queries.audit import every_entry
from campshub.core.commands.options import organization_option
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.json import write
from campshub.core.service_base import Services

audit = AppGroup("audit", help="The audit log: who changed what.")

_OWNER_ONLY = 0o600


@audit.command("export")
@organization_option
@click.option(
    "--from", "first_date", type=click.DateTime(["%Y-%m-%d"]), help="First date (UTC); default: the beginning."
)
@click.option("--to", "last_date", type=click.DateTime(["%Y-%m-%d"]), help="Last date (UTC); default: today.")
@click.option(
    "--output", required=True, type=click.Path(path_type=Path), help="A new file, readable only by its owner."
)
def export(*, organization_id: UUID, first_date: datetime | None, last_date: datetime | None, output: Path) -> None:
    """Write an organization's audit log to a file, one JSON entry per line, with personal values decrypted.

    Example: flask audit export --organization 0198... --from 2026-01-01 --output audit-2026.ndjson
    """
    services: Services = current_app.extensions["campshub"]
    dates = {
        "first_date": first_date.date() if first_date else date.min,
        "last_date": last_date.date() if last_date else datetime.now(UTC).date(),
    }
    with unit_of_work(read_only=True, organization_id=organization_id) as session:
        if session.enter(organization_id).organization_status is None:
            raise click.ClickException(f"There is no organization {organization_id}.")
        with new_file(output) as file:
            count = 0
            for entry in every_entry(session, organization_id, services.ring, **dates):
                file.write(write(entry) + b"\n")
                count += 1
    click.echo(f"Wrote {count} entries to {output}.")


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """Yield a file that gets its name when everything is written; on failure nothing remains.

    :raises click.ClickException: a file with this name exists, or it cannot be created.
    """
    if path.exists():
        raise click.ClickException(f"{path} already exists; name a new file.")
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY)
    except OSError as error:
        raise click.ClickException(f"{path} cannot be written: {error.strerror}.") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
