"""``flask alerts``: list active alerts, run the checks."""

from collections.abc import Sequence

import click
from flask import current_app
from flask.cli import AppGroup
from sqlalchemy import select

from campshub.core.commands.options import json_option
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.json import write
from campshub.operations import checks
from campshub.operations.alerts import record
from campshub.operations.models import Alert

alerts = AppGroup("alerts", help="Values beyond their limits, with advice.")


@alerts.command("list")
@click.option("--cleared", is_flag=True, help="Include cleared ones; the last hundred.")
@json_option
def list_alerts(*, cleared: bool, as_json: bool) -> None:
    """List the active alerts.

    Example: flask alerts list
    """
    statement = select(Alert).order_by(Alert.raised_at.desc()).limit(100)
    with unit_of_work(system=True, read_only=True) as session:
        found = list(session.scalars(statement if cleared else statement.where(Alert.cleared_at.is_(None))))
    _print(found, as_json=as_json)


@alerts.command("check")
@json_option
def check(*, as_json: bool) -> None:
    """Run all threshold checks now, record the alerts and list the active ones; exit with 1 if there are any.

    Example: flask alerts check
    """
    values = checks.run(current_app.extensions["campshub"])
    with unit_of_work(system=True) as session:
        found = record(session, values)
    _print(found, as_json=as_json)
    if found:
        raise click.exceptions.Exit(1)


def _print(found: Sequence[Alert], *, as_json: bool) -> None:
    names = ("name", "subject", "value", "threshold", "unit", "advice", "raised_at", "seen_at", "cleared_at")
    if as_json:
        click.echo(write([{name: getattr(one, name) for name in names} for one in found]).decode())
        return
    for one in found:
        until = f", cleared {one.cleared_at:%Y-%m-%d %H:%M}" if one.cleared_at else ""
        click.echo(
            f"{one.name} {one.subject}: {one.value:.1f} {one.unit} (limit {one.threshold:g}),"
            f" since {one.raised_at:%Y-%m-%d %H:%M}{until}: {one.advice}"
        )
    if not found:
        click.echo("All values are within their limits.")
