"""``flask rollups``: refresh, rebuild and check precomputed aggregates."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

import click
from flask.cli import AppGroup

from campshub.core.commands.options import json_option, say
from campshub.core.db.models import PLATFORM_ID
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.jobs.store import enqueue
from campshub.core.json import write
from campshub.core.rollups import refresh
from campshub.core.rollups.definition import rollups as known
from campshub.core.rollups.refresh import Difference, MonthDetached, RefreshCount

MOST_LISTED = 20  # differences of one month

rollups = AppGroup("rollups", help="Precomputed aggregates.")

_organization = click.option("--organization", "organization_id", type=click.UUID, help="Only this organization.")
_from = click.option("--from", "first_date", type=click.DateTime(["%Y-%m-%d"]), help="From this date's month on.")
_to = click.option("--to", "last_date", type=click.DateTime(["%Y-%m-%d"]), help="Up to this date's month.")


@rollups.command("fold")
@json_option
def fold(*, as_json: bool) -> None:
    """Refresh stale rollups, as the worker does every minute.

    Example: flask rollups fold
    """
    total, is_whole = RefreshCount(), False
    while not is_whole:
        with unit_of_work(system=True) as session:
            counted = refresh.refresh_due(session)
        is_whole = counted.is_whole
        total += counted
    counts = {"notes": total.stale_rows, "written": total.written, "removed": total.removed}
    say(as_json, "Processed {notes} stale keys; wrote {written} rows and removed {removed}.".format(**counts), **counts)


@rollups.command("rebuild")
@_organization
@_from
@_to
@click.option("--by-worker", is_flag=True, help="Let a worker do it; `flask jobs list` shows the progress.")
@json_option
def rebuild(
    *,
    organization_id: UUID | None,
    first_date: datetime | None,
    last_date: datetime | None,
    by_worker: bool,
    as_json: bool,
) -> None:
    """Rebuild rollups from the rows, month by month; correct rows are not written.

    It does not block reads or writes. Rollups of archived months stay as they are. After an interruption, run it again
    with --from where it stopped; a worker continues automatically.

    Example: flask rollups rebuild --organization 0190... --from 2026-01-01
    """
    if by_worker:
        _enqueue(
            organization_id=organization_id, first_date=_date(first_date), last_date=_date(last_date), as_json=as_json
        )
        return
    with unit_of_work(system=True, read_only=True) as session:
        steps = refresh.steps(
            session, organization_id=organization_id, first_date=_date(first_date), last_date=_date(last_date)
        )
    total = RefreshCount()
    for step in steps:
        try:
            with unit_of_work(system=True) as session:
                total += refresh.rebuild(session, known()[step.rollup], step.organization_id, step.month)
        except MonthDetached as error:
            detail = f"the month {error} of {step.rollup} was attached or detached meanwhile; run the command again."
            raise click.ClickException(detail) from error
    counts = {"months": len(steps), "written": total.written, "removed": total.removed}
    say(as_json, "Rebuilt {months} months; wrote {written} rows and removed {removed}.".format(**counts), **counts)


def _enqueue(*, as_json: bool, **options: Any) -> None:
    arguments = {name: str(value) for name, value in options.items() if value is not None}
    with unit_of_work(system=True, organization_id=PLATFORM_ID) as session:
        job_id = enqueue(session, "rollups.rebuild", **arguments)
    say(as_json, f"Enqueued for a worker: job {job_id}.", job_id=str(job_id))


@rollups.command("check")
@_organization
@_from
@_to
@json_option
def check(
    *, organization_id: UUID | None, first_date: datetime | None, last_date: datetime | None, as_json: bool
) -> None:
    """Compare the rollups with their rows; exit with 1 if they differ.

    Example: flask rollups check --from 2026-01-01
    """
    with unit_of_work(system=True, read_only=True) as session:
        steps = refresh.steps(
            session, organization_id=organization_id, first_date=_date(first_date), last_date=_date(last_date)
        )
    found: list[Difference] = []
    for step in steps:
        with unit_of_work(system=True, read_only=True) as session:
            found += refresh.check(session, known()[step.rollup], step.organization_id, step.month, most=MOST_LISTED)
    if as_json:
        click.echo(write({"months": len(steps), "differences": found}).decode())
    else:
        for one in found:
            key = ", ".join(f"{name} {value}" for name, value in one.key.items())
            click.echo(f"{one.rollup} of {one.organization_id}: {key}: stored {one.stored}, counted {one.counted}")
        click.echo(f"Compared {len(steps)} months: {len(found)} differences.")
    if found:
        raise click.exceptions.Exit(1)


def _date(given: datetime | None) -> date | None:
    return given.date() if given else None
