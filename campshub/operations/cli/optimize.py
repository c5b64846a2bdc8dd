"""``flask optimize-database``: vacuum, reindex, delete expired rows, warm the cache."""

from dataclasses import asdict
from typing import Any

import click
from flask import current_app
from flask.cli import with_appcontext
from sqlalchemy.exc import OperationalError

from campshub.core import partitions
from campshub.core.http.warming import Warmer
from campshub.core.json import write
from campshub.core.services import ServiceContainer
from campshub.operations import optimize
from campshub.operations.optimize import Done, MissingExtension, Slow

MIB = 1024 * 1024


@click.command("optimize-database")
@with_appcontext
@click.option("--all", "everything", is_flag=True, help="All of it.")
@click.option("--vacuum", is_flag=True, help="Vacuum and analyze every table.")
@click.option("--reindex", is_flag=True, help="Rebuild bloated indexes while they are in use.")
@click.option("--cleanup", is_flag=True, help="Delete expired rows.")
@click.option("--cache-warm", "warms", is_flag=True, help="Render the most requested responses into the cache.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def optimize_database(
    *, everything: bool, vacuum: bool, reindex: bool, cleanup: bool, warms: bool, as_json: bool
) -> None:
    """Optimize the database while it is in use, and list its slowest statements.

    Example: flask optimize-database --all
    """
    if not (everything or vacuum or reindex or cleanup or warms):
        raise click.UsageError("choose --all, or at least one of --vacuum, --reindex, --cleanup, --cache-warm.")
    try:
        with partitions.maintenance(current_app.extensions["campshub"].settings) as connection:
            before = optimize.sizes(connection)
            done: list[Done] = []
            if everything or cleanup:
                done += optimize.clean_up(_print_progress)
            if everything or reindex:
                done += optimize.reindex(connection, _print_progress)
            if everything or vacuum:
                done += optimize.vacuum(connection, _print_progress)
            if everything or warms:
                done.append(_warm())
            after, slow = optimize.sizes(connection), optimize.slowest(connection)
    except MissingExtension as missing:
        raise click.ClickException(str(missing)) from missing
    except OperationalError as error:
        raise click.ClickException(str(error.orig).strip().partition("\n")[0]) from error
    if as_json:
        click.echo(write(_facts(before, after, done, slow)).decode())
        return
    _print(before, after, done, slow)


def _warm() -> Done:
    services: ServiceContainer = current_app.extensions["campshub"]
    settings = services.settings
    warmed = Warmer(current_app, services, settings.cache_warm_per_second).warm(most=settings.cache_warm_most)
    return Done("warmed the cache", f"{warmed.made} responses")


def _print_progress(line: str) -> None:
    click.echo(line, err=True)


def _facts(before: tuple[int, int], after: tuple[int, int], done: list[Done], slow: list[Slow]) -> dict[str, Any]:
    parts = ("tables", "indexes")
    return {
        "before": dict(zip(parts, before, strict=True)),
        "after": dict(zip(parts, after, strict=True)),
        "done": [asdict(one) for one in done],
        "slowest": [asdict(one) for one in slow],
    }


def _print(before: tuple[int, int], after: tuple[int, int], done: list[Done], slow: list[Slow]) -> None:
    click.echo(f"{'':10} {'before':>12} {'after':>12}")
    for name, was, now in zip(("tables", "indexes"), before, after, strict=True):
        click.echo(f"{name:10} {was / MIB:>8,.1f} MiB {now / MIB:>8,.1f} MiB")
    for one in done:
        change = "" if one.before is None or one.after is None else f" {one.before:,} to {one.after:,}"
        click.echo(f"{one.what}: {one.subject}{change}")
    if not done:
        click.echo("Nothing to do.")
    click.echo("\nThe slowest statements, by mean time:")
    for number, one_slow in enumerate(slow, 1):
        click.echo(f"{number:>2}. {one_slow.mean_ms:>9,.1f} ms {one_slow.calls:>9,} calls  {one_slow.statement[:100]}")
