"""``flask outbox``: what is owed after commits: e-mails today."""

import time
from dataclasses import asdict

import click
from flask import current_app
from flask.cli import AppGroup
from sqlalchemy import func, select

from campshub.core.db.work import unit_of_work
from campshub.core.http.serialise import write
from campshub.core.jobs import sending
from campshub.core.jobs.outbox import OutboxMessage

outbox = AppGroup("outbox", help="What is owed after commits: e-mails today.")
commands = (outbox,)


@outbox.command("send")
@click.option("--every", "every_s", type=click.FloatRange(0.1), help="Go on, and look again after so many seconds.")
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
def send(*, every_s: float | None, as_json: bool) -> None:
    """Send what is due.

    Example: flask outbox send --every 5
    """
    while True:
        tally = sending.send_due(current_app.extensions["campshub"])
        if any(asdict(tally).values()) or every_s is None:
            said = f"Done: {tally.done}, to be tried again: {tally.failed}, given up: {tally.dead}."
            click.echo(write(asdict(tally)).decode() if as_json else said)
        if every_s is None:
            break
        time.sleep(every_s)


@outbox.command("show")
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
def show(*, as_json: bool) -> None:
    """Count what is owed and what was given up, by job.

    Example: flask outbox show
    """
    owed = func.count().filter(OutboxMessage.died_at.is_(None)).label("owed")
    dead = func.count().filter(OutboxMessage.died_at.is_not(None)).label("dead")
    with unit_of_work(system=True, read_only=True) as session:
        rows = session.execute(
            select(OutboxMessage.job, owed, dead).where(OutboxMessage.finished_at.is_(None)).group_by(OutboxMessage.job)
        ).all()
    if as_json:
        click.echo(write([dict(row._mapping) for row in rows]).decode())  # noqa: SLF001 - SQLAlchemy's public name
        return
    for row in rows:
        click.echo(f"{row.job}: {row.owed} owed, {row.dead} given up")
