"""``flask timetables``: create sessions from weekly meetings."""

from uuid import UUID

import click
from flask.cli import AppGroup

from campshub.core.commands.options import json_option, say
from campshub.timetables.service import ahead

timetables = AppGroup("timetables", help="Sessions from weekly meetings.")
commands = (timetables,)


@timetables.command("generate")
@click.option("--organization", "organization_id", type=click.UUID, help="Only this organization.")
@json_option
def generate(*, organization_id: UUID | None, as_json: bool) -> None:
    """Create the sessions of the coming days, as the worker does every hour.

    Running it again creates nothing twice.

    Example: flask timetables generate
    """
    created, failed = ahead.create_all(organization_id)
    say(as_json, f"Created {created} sessions.", created=created, failed=failed)
    if failed:
        raise click.ClickException(f"{failed} batches of groups failed; the log says why.")
