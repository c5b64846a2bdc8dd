"""``flask demo``: create demo data."""

from datetime import UTC, datetime
from pathlib import Path

import click
from flask import current_app
from flask.cli import AppGroup

from campshub.core import partitions
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.errors import Problem
from campshub.core.json import write
from campshub.demo import service

demo = AppGroup("demo", help="Realistic demo data.")
commands = (demo,)


@demo.command("seed")
@click.option("--organizations", default=2, show_default=True, type=click.IntRange(1, 100))
@click.option("--students", default=500, show_default=True, type=click.IntRange(1, 1_000_000), help="Per organization.")
@click.option("--days", default=90, show_default=True, type=click.IntRange(0, 400), help="Days of history.")
@click.option("--seed", default=1, show_default=True, help="The seed of the random data.")
@click.option("--credentials", type=click.Path(dir_okay=False, path_type=Path), help="Write the sign-in to this file.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def seed(*, organizations: int, students: int, days: int, seed: int, credentials: Path | None, as_json: bool) -> None:
    """Create demo organizations with students, groups, attendance and workouts.

    Example: flask demo seed --students 500 --days 90
    """
    size = service.Size(organizations, students, days, seed)
    settings = current_app.extensions["campshub"].settings
    try:
        with unit_of_work(read_only=True) as session:
            service.require_no_demo(session)
        with click.progressbar(length=size.steps, label="demo data", item_show_func=lambda name: name or "") as bar:
            signs = service.seed(
                size,
                now=datetime.now(UTC),
                password_cost=settings.password_cost,
                progress=lambda name, steps: bar.update(steps, name),
            )
        with partitions.maintenance(settings) as connection:
            partitions.analyze(connection)
    except Problem as problem:
        raise click.ClickException(problem.detail) from problem
    answer = {**signs[0], "other": signs[1] if len(signs) > 1 else None}
    if credentials is not None:
        credentials.touch(mode=0o600)
        credentials.write_bytes(write(answer) + b"\n")
    click.echo(write(answer).decode() if as_json else f"Sign in as {signs[0]['email']} with {signs[0]['password']}")
