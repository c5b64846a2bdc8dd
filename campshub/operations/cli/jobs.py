"""``flask jobs`` and ``flask schedule``: pending and dead jobs, and the schedule."""

import time
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import click
import redis
from flask import current_app
from flask.cli import AppGroup
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import distinct_on

from campshub.core.commands.options import json_option, say
from campshub.core.db.models import PLATFORM_ID
from campshub.core.db.session import Session
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.jobs import heartbeat, runner, store
from campshub.core.jobs import schedule as entries
from campshub.core.jobs.models import OutboxMessage
from campshub.core.jobs.registry import Queue
from campshub.core.jobs.store import enqueue
from campshub.core.json import write
from campshub.core.services import ServiceContainer

jobs = AppGroup("jobs", help="Pending jobs, and jobs that were given up.")
schedule = AppGroup("schedule", help="The schedule of jobs.")


@jobs.command("list")
@json_option
def list_jobs(*, as_json: bool) -> None:
    """Count pending and dead jobs by name, with the age of the oldest.

    Example: flask jobs list
    """
    is_dead = OutboxMessage.died_at.is_not(None)
    statement = (
        select(
            OutboxMessage.job,
            func.count().filter(~is_dead).label("pending"),
            func.count().filter(is_dead).label("dead"),
            func.extract("epoch", func.now() - func.min(OutboxMessage.created_at).filter(~is_dead)).label("oldest_s"),
        )
        .where(OutboxMessage.finished_at.is_(None))
        .group_by(OutboxMessage.job)
        .order_by(OutboxMessage.job)
    )
    rows = [{**row, "oldest_s": round(float(row["oldest_s"] or 0), 1)} for row in _rows(statement)]
    lines = [
        f"{r['job']}: {r['pending']} pending (the oldest for {r['oldest_s']:.0f} s), {r['dead']} given up" for r in rows
    ]
    _print(rows, lines or ["Nothing is pending."], as_json=as_json)


@jobs.command("dead")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000))
@json_option
def dead(*, limit: int, as_json: bool) -> None:
    """List dead jobs, newest first, with the type of the last error; search the log for the id to see more.

    Example: flask jobs dead --limit 10
    """
    columns = [OutboxMessage.id, OutboxMessage.organization_id, OutboxMessage.job, OutboxMessage.problem]
    statement = (
        select(*columns, OutboxMessage.died_at)
        .where(OutboxMessage.died_at.is_not(None))
        .order_by(OutboxMessage.died_at.desc())
        .limit(limit)
    )
    rows = _rows(statement)
    lines = [f"{r['id']} {_instant(r['died_at'])} {r['job']}: {r['problem']}" for r in rows]
    _print(rows, lines or ["No job was given up."], as_json=as_json)


@jobs.command("replay")
@click.argument("message_id", type=click.UUID, required=False)
@click.option("--job", help="All with this job name.")
@click.option("--all", "everything", is_flag=True, help="All dead jobs.")
@json_option
def replay(*, message_id: UUID | None, job: str | None, everything: bool, as_json: bool) -> None:
    """Enqueue dead jobs again: one, all with a job name, or all.

    Example: flask jobs replay --job accounts.invite
    """
    if sum((message_id is not None, job is not None, everything)) != 1:
        raise click.UsageError("give exactly one of: an id, --job NAME, --all.")
    with unit_of_work(system=True) as session:
        rows = store.replay(session, id_=message_id, job=job)
    if message_id is not None and not rows:
        raise click.ClickException(f"{message_id} is not a dead job; flask jobs dead lists them.")
    called = _services().sender.send((row.organization_id, row.id, row.job) for row in rows)
    say(as_json, f"Enqueued again: {len(rows)}.", replayed=len(rows), called=called)


@jobs.command("run")
@click.option("--every", "every_s", type=click.FloatRange(0.1), help="Repeat after this many seconds.")
@json_option
def run(*, every_s: float | None, as_json: bool) -> None:
    """Run the due jobs in this process, without a broker or workers.

    Example: flask jobs run --every 5
    """
    while True:
        tally = runner.run_due(_services())
        if any(asdict(tally).values()) or every_s is None:
            sentence = f"Done: {tally.done}, to be retried: {tally.failed}, given up: {tally.dead}."
            say(as_json, sentence, **asdict(tally))
        if every_s is None:
            break
        time.sleep(every_s)


@jobs.command("workers")
@click.option("--queue", type=click.Choice([queue.value for queue in Queue]), help="Only this queue.")
@click.option("--late-after", "late_s", default=heartbeat.LATE_AFTER_S, show_default=True, help="Seconds.")
@json_option
def workers(*, queue: str | None, late_s: float, as_json: bool) -> None:
    """Print the age of the last worker heartbeat by queue; exit with 1 if one is too old.

    Example: flask jobs workers --queue critical
    """
    try:
        ages = heartbeat.ages(_services().settings, time.time())
    except redis.RedisError as error:
        raise click.ClickException(f"the broker does not respond: {error}") from None
    ages = {name: age for name, age in ages.items() if queue in {None, name}}
    lines = [f"{name:12} {'never' if age is None else f'{age:.0f} s ago'}" for name, age in ages.items()]
    _print([{"queue": name, "last_heartbeat_s": age} for name, age in ages.items()], lines, as_json=as_json)
    if any(age is None or age > late_s for age in ages.values()):
        raise click.exceptions.Exit(1)


@schedule.command("list")
@json_option
def list_schedule(*, as_json: bool) -> None:
    """List the schedule (UTC) with the outcome of the last runs.

    Example: flask schedule list
    """
    with unit_of_work(system=True, read_only=True) as session:
        last = _last_slots(session)
    rows: list[dict[str, Any]] = []
    for entry in entries.entries():
        row = last.get(entry.job, {})
        rows.append({"job": entry.job, "when": str(entry.when), "last_slot": row.get("slot"), "state": _state(row)})
    lines = [f"{r['job']:32} {r['when']:24} {_instant(r['last_slot']):17} {r['state']}" for r in rows]
    _print(rows, lines, as_json=as_json)


@schedule.command("run")
@click.argument("name")
@click.option("--here", is_flag=True, help="Run in this process instead of a worker, and print the outcome.")
@json_option
def run_scheduled(*, name: str, here: bool, as_json: bool) -> None:
    """Run a scheduled job now.

    Example: flask schedule run partitions.ensure --here
    """
    entry = entries.find(name)
    if entry is None:
        known = ", ".join(one.job for one in entries.entries())
        raise click.ClickException(f"{name} is not a scheduled job; the scheduled jobs are: {known}.")
    with unit_of_work(system=True, organization_id=PLATFORM_ID) as session:
        message_id = enqueue(session, entry.job, **entry.arguments)
    outcome = "pending"
    while here and outcome in {"pending", runner.Outcome.MORE}:
        outcome = runner.run_one(_services(), PLATFORM_ID, message_id)
    say(as_json, f"{name}: {outcome} ({message_id}).", job=name, id=message_id, outcome=outcome)
    if here and outcome is not runner.Outcome.DONE:
        raise click.exceptions.Exit(1)


def _last_slots(session: Session) -> dict[str, dict[str, Any]]:
    columns = (
        OutboxMessage.job,
        OutboxMessage.slot,
        OutboxMessage.finished_at,
        OutboxMessage.died_at,
        OutboxMessage.problem,
    )
    statement = (
        select(*columns)
        .where(OutboxMessage.organization_id == PLATFORM_ID, OutboxMessage.slot.is_not(None))
        .ext(distinct_on(OutboxMessage.job))
        .order_by(OutboxMessage.job, OutboxMessage.slot.desc())
    )
    return {row.job: dict(row._mapping) for row in session.execute(statement)}  # noqa: SLF001 - SQLAlchemy's public name


def _instant(at: datetime | None) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M") if at else ""


def _state(row: dict[str, Any]) -> str:
    if not row:
        return "never"
    if row["died_at"]:
        return f"given up: {row['problem']}"
    if row["finished_at"]:
        return "done"
    return f"to be retried: {row['problem']}" if row["problem"] else "pending"


def _rows(statement: Any) -> list[dict[str, Any]]:
    with unit_of_work(system=True, read_only=True) as session:
        return [dict(row._mapping) for row in session.execute(statement)]  # noqa: SLF001 - SQLAlchemy's public name


def _print(rows: list[dict[str, Any]], lines: list[str], *, as_json: bool) -> None:
    click.echo(write(rows).decode() if as_json else "\n".join(lines))


def _services() -> ServiceContainer:
    services: ServiceContainer = current_app.extensions["campshub"]
    return services
