"""``flask reports``: list the kinds, make a report at once, remove reports."""

from datetime import UTC, date, datetime
from pathlib import Path
from secrets import token_bytes
from typing import Any
from uuid import UUID

import click
from flask import current_app
from flask.cli import AppGroup

from campshub.core.commands.options import json_option, organization_option, say, yes_option
from campshub.core.db.models import PLATFORM_ID, new_id
from campshub.core.db.session import Session
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.errors import Problem
from campshub.core.security.permissions import GRANTS, Role
from campshub.core.security.principal import Principal
from campshub.core.service_base import Services
from campshub.core.storage import Storage
from campshub.core.typesetting.process import NoFonts, TypesettingFailed
from campshub.reports.dates import PERIODS
from campshub.reports.formats import FORMATS
from campshub.reports.kinds import ReportKind, all_kinds
from campshub.reports.parameters import checked, resolved
from campshub.reports.queries.schedules import organization_of
from campshub.reports.row_store import RowStore
from campshub.reports.service import rendering, requests
from campshub.reports.tempdir import temporary_folder

reports = AppGroup("reports", help="Reports: registers, rosters, histories.")
commands = (reports,)

_DATE = click.DateTime(["%Y-%m-%d"])


@reports.command("kinds")
@json_option
def kinds(*, as_json: bool) -> None:
    """List the kinds of report and the parameters of each.

    Example: flask reports kinds
    """
    found = [_description(kind) for kind in all_kinds().values()]
    lines = [f"{one['kind']:22} {one['title']:24} {', '.join(one['parameters'])}" for one in found]
    say(as_json, "\n".join(lines), kinds=found)


def _description(kind: ReportKind) -> dict[str, Any]:
    dates = ("period", "from", "to") if kind.most_days else ("period", "on")
    return {"kind": kind.name, "title": kind.title, "parameters": [*kind.takes, *dates], "needs": sorted(kind.needs)}


@reports.command("make")
@click.option("--kind", "name", required=True, type=click.Choice(tuple(all_kinds())))
@organization_option
@click.option("--format", "format_", required=True, type=click.Choice(FORMATS))
@click.option("--output", required=True, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--group", "group_id", type=click.UUID)
@click.option("--student", "student_id", type=click.UUID)
@click.option("--period", type=click.Choice(tuple(PERIODS)))
@click.option("--from", "first_date", type=_DATE)
@click.option("--to", "last_date", type=_DATE)
@click.option("--on", type=_DATE)
@json_option
def make(
    *,
    name: str,
    organization_id: UUID,
    format_: str,
    output: Path,
    group_id: UUID | None,
    student_id: UUID | None,
    period: str | None,
    first_date: datetime | None,
    last_date: datetime | None,
    on: datetime | None,
    as_json: bool,
) -> None:
    """Write a report of a whole organization to a file, as its admins see it.

    Example: flask reports make --kind roster --organization 0198... --group 0198... --format pdf --output roster.pdf
    """
    dates = {
        key: at.date() if at is not None else None for key, at in (("from", first_date), ("to", last_date), ("on", on))
    }
    arguments = {"group_id": group_id, "student_id": student_id, "period": period, **dates}
    try:
        rows = _make(organization_id, all_kinds()[name], {k: v for k, v in arguments.items() if v}, format_, output)
    except Problem as problem:
        details = "; ".join(f"{error.pointer}: {error.detail}" for error in problem.errors)
        raise click.ClickException(details or problem.detail) from None
    except (NoFonts, TypesettingFailed) as error:
        raise click.ClickException(str(error)) from None
    say(as_json, f"{output}: {rows:,} rows, {output.stat().st_size:,} bytes", rows=rows, file=str(output))


@reports.command("forget")
@organization_option
@yes_option
@json_option
def forget(*, organization_id: UUID, yes: bool, as_json: bool) -> None:
    """Remove all reports of an organization, for example after a person in them was erased.

    Example: flask reports forget --organization 0198... --yes
    """
    if not yes:
        click.confirm("Remove all reports of the organization?", abort=True)
    with unit_of_work(organization_id=organization_id) as session:
        count = requests.remove_all(session, organization_id)
    say(as_json, f"Removed {count} reports; their files are deleted in the background.", removed=count)


def _make(organization_id: UUID, kind: ReportKind, parameters: dict[str, Any], format_: str, output: Path) -> int:
    """Read the rows into an encrypted temporary row store, then write the file."""
    services: Services = current_app.extensions["campshub"]
    with temporary_folder() as folder:
        keys = {"once": token_bytes(32)}
        store = RowStore(Storage(folder), keys, organization_id=organization_id, report_id=new_id())
        with unit_of_work(organization_id=organization_id, read_only=True) as session:
            principal = _admin(session, organization_id)
            today: date = principal.today(datetime.now(UTC))
            arguments = resolved(kind, checked(kind, parameters), today)
            sums: dict[str, Any] = {}
            kind.subject(session, principal, arguments)
            after = None
            while True:
                part = kind.gather(session, principal, arguments, after, sums)
                store.add(part.rows, part.after)
                after = part.after
                if after is None:
                    break
            document = rendering.describe(session, principal, kind, arguments, sums, None)
        with output.open("wb") as file:
            output.chmod(0o600)
            return rendering.write_report(services, format_, file, document, store).rows


def _admin(session: Session, organization_id: UUID) -> Principal:
    """Return a principal that sees what an organization's admins see."""
    zone = organization_of(session, organization_id).time_zone
    return Principal(PLATFORM_ID, organization_id, Role.ADMIN.value, zone, own_grant=GRANTS[Role.ADMIN.value])
