"""``flask rollups``: figures that are kept beside the rows that they are counted from."""

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

MOST_TOLD = 20  # of the differences of one month

rollups = AppGroup("rollups", help="Figures that are kept beside the rows that they are counted from.")

_organization = click.option("--organization", "organization_id", type=click.UUID, help="This organization alone.")
_from = click.option("--from", "first", type=click.DateTime(["%Y-%m-%d"]), help="From this date's month on.")
_to = click.option("--to", "last", type=click.DateTime(["%Y-%m-%d"]), help="Up to this date's month.")


@rollups.command("fold")
@json_option
def fold(*, as_json: bool) -> None:
    """Count anew what has become stale, as the worker does every minute.

    Example: flask rollups fold
    """
    total, is_whole = RefreshCount(), False
    while not is_whole:
        with unit_of_work(system=True) as session:
            counted = refresh.refresh_due(session)
        is_whole = counted.is_whole
        total += counted
    told = {"notes": total.notes, "written": total.written, "removed": total.removed}
    say(as_json, "Took {notes} notes; wrote {written} rows and removed {removed}.".format(**told), **told)


@rollups.command("rebuild")
@_organization
@_from
@_to
@click.option("--by-worker", is_flag=True, help="Leave it to a worker; `flask jobs list` tells how far it is.")
@json_option
def rebuild(
    *, organization_id: UUID | None, first: datetime | None, last: datetime | None, by_worker: bool, as_json: bool
) -> None:
    """Count figures anew from the rows, month by month; what is right already is not written.

    Nobody who writes or reads waits for it. Months whose rows are archived keep their figures. One that broke off is
    simply run again, with --from where it stopped; a worker goes on by itself.

    Example: flask rollups rebuild --organization 0190... --from 2026-01-01
    """
    if by_worker:
        _owe(organization_id=organization_id, first=_date(first), last=_date(last), as_json=as_json)
        return
    with unit_of_work(system=True, read_only=True) as session:
        steps = refresh.steps(session, organization_id=organization_id, first=_date(first), last=_date(last))
    total = RefreshCount()
    for step in steps:
        try:
            with unit_of_work(system=True) as session:
                total += refresh.rebuild(session, known()[step.rollup], step.organization_id, step.month)
        except MonthDetached as error:
            raise click.ClickException(f"{error} of {step.rollup} came or went meanwhile; run it again.") from error
    told = {"months": len(steps), "written": total.written, "removed": total.removed}
    say(as_json, "RefreshCount {months} months; wrote {written} rows and removed {removed}.".format(**told), **told)


def _owe(*, as_json: bool, **given: Any) -> None:
    asked = {name: str(value) for name, value in given.items() if value is not None}
    with unit_of_work(system=True, organization_id=PLATFORM_ID) as session:
        job_id = enqueue(session, "rollups.rebuild", **asked)
    say(as_json, f"A worker will do it: job {job_id}.", job_id=str(job_id))


@rollups.command("check")
@_organization
@_from
@_to
@json_option
def check(*, organization_id: UUID | None, first: datetime | None, last: datetime | None, as_json: bool) -> None:
    """Compare the figures with the rows that they are counted from; exit with 1 where they differ.

    Example: flask rollups check --from 2026-01-01
    """
    with unit_of_work(system=True, read_only=True) as session:
        steps = refresh.steps(session, organization_id=organization_id, first=_date(first), last=_date(last))
    found: list[Difference] = []
    for step in steps:
        with unit_of_work(system=True, read_only=True) as session:
            found += refresh.check(session, known()[step.rollup], step.organization_id, step.month, most=MOST_TOLD)
    if as_json:
        click.echo(write({"months": len(steps), "differences": found}).decode())
    else:
        for one in found:
            key = ", ".join(f"{name} {value}" for name, value in one.key.items())
            click.echo(f"{one.rollup} of {one.organization_id}: {key}: kept {one.kept}, counted {one.counted}")
        click.echo(f"Compared {len(steps)} months: {len(found)} differences.")
    if found:
        raise click.exceptions.Exit(1)


def _date(given: datetime | None) -> date | None:
    return given.date() if given else None
