"""``flask partitions``: create months of large tables ahead, archive and restore them."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import Any

import click
from flask import current_app
from flask.cli import AppGroup
from sqlalchemy import Connection

from campshub.core import partitions as months
from campshub.core.commands.options import json_option, yes_option
from campshub.core.dates import add_months, month_start
from campshub.core.json import write
from campshub.core.partitions import archive as archiving
from campshub.core.partitions import months as calendar
from campshub.core.partitions import restore as restoring
from campshub.core.partitions.manifests import Manifest
from campshub.core.partitions.store import Archives
from campshub.core.services import ServiceContainer

partitions = AppGroup("partitions", help="The monthly partitions of large tables.")

_DATE = click.DateTime(["%Y-%m-%d"])
_AHEAD = click.IntRange(0, 1_200)  # a hundred years: the calendar of dates ends
_month_option = click.option("--month", required=True, type=click.DateTime(["%Y-%m"]), help="The month: 2024-05.")
_table_option = click.option("--table", help="Only this table.")


@partitions.command("list")
@json_option
def list_partitions(*, as_json: bool) -> None:
    """List the partitions with their sizes, unfinished archivings, and the months in the archive.

    Example: flask partitions list
    """
    with _maintenance() as connection:
        here = [{"state": "here", **vars(partition)} for partition in months.present(connection)]
        half = [
            {"state": "half archived", "table": table, "name": calendar.name_of(table, month), "first": month}
            for table, month in calendar.detached(connection)
        ]
        there = {(line["table"], line["first"]) for line in (*here, *half)}
        archived = [
            _described(one) for one in Archives(_services().settings).all() if (one.table, one.month) not in there
        ]
    lines = sorted((*here, *half, *archived), key=lambda line: str(line["name"]))
    click.echo(write(lines).decode() if as_json else "\n".join(map(_line, lines)))


def _described(manifest: Manifest) -> dict[str, Any]:
    return {
        "state": "archived",
        "table": manifest.table,
        "name": calendar.name_of(manifest.table, manifest.month),
        "first": manifest.month,
        "until": add_months(manifest.month, 1),
        "rows": manifest.rows,
        "bytes": manifest.stored.bytes,
        "archive": manifest.file,
    }


def _line(line: dict[str, Any]) -> str:
    if line["state"] == "half archived":
        return f"{line['name']:36} half archived: flask partitions archive --month {line['first']:%Y-%m}"
    size = f"{line['bytes'] / 1024**2:.1f} MiB"
    state = "" if line["state"] == "here" else f"  archived: {line['archive']}"
    return f"{line['name']:36} {line['first']} to {line['until']} {line['rows']:>12,} rows {size:>12}{state}"


@partitions.command("ensure")
@click.option(
    "--months", "ahead", type=_AHEAD, default=months.MONTHS_AHEAD, show_default=True, help="How many months ahead."
)
@click.option("--from", "first_date", type=_DATE, help="The first date needed, for imports of older records.")
@_table_option
@json_option
def ensure(*, ahead: int, first_date: datetime | None, table: str | None, as_json: bool) -> None:
    """Create the missing partitions, except those that are in the archive.

    Example: flask partitions ensure --months 6 --from 2024-01-01
    """
    today = datetime.now(UTC).date()
    begin: date = first_date.date() if first_date else today
    made: list[str] = []
    stored: list[str] = []
    with _maintenance() as connection:
        for name in _tables(connection, table):
            archived = Archives(_services().settings).months(name) if begin < month_start(today) else frozenset()
            made += months.ensure(connection, name, begin, add_months(today, ahead), archived=archived)
            here = {partition.first for partition in months.present(connection) if partition.table == name}
            stored += [calendar.name_of(name, one) for one in sorted(archived - here) if one >= month_start(begin)]
    if as_json:
        click.echo(write({"made": made, "archived": stored}).decode())
        return
    click.echo("\n".join((f"Created {len(made)} partitions.", *made)))
    if stored:
        click.echo(f"These are in the archive (flask partitions restore): {', '.join(stored)}")


@partitions.command("archive")
@_month_option
@_table_option
@yes_option
@json_option
def archive(*, month: datetime, table: str | None, yes: bool, as_json: bool) -> None:
    """Store a month in the archive, verify it, and drop it; after an interruption, run it again.

    Example: flask partitions archive --month 2024-05 --table attendance_records --yes
    """
    first = month.date()
    done: list[dict[str, Any]] = []
    with _maintenance() as connection:
        chosen = [name for name in _tables(connection, table) if table or _has(connection, name, first)]
        if not chosen:
            raise click.ClickException(f"no table has a partition for {first:%Y-%m}.")
        if not yes:
            moved = f"{first:%Y-%m} of {', '.join(chosen)}"
            click.confirm(f"This moves {moved} from the database to the archive. Continue?", abort=True)
        for name in chosen:
            report = _reporter(calendar.name_of(name, first), as_json=as_json)
            done.append(_described(archiving.archive(_services(), connection, table=name, month=first, report=report)))
    if as_json:
        click.echo(write(done).decode())
        return
    for one in done:
        click.echo(f"Archived {one['rows']:,} rows of {one['name']} in {one['archive']}.")


@partitions.command("restore")
@_month_option
@_table_option
@click.option("--leave-out", is_flag=True, help="Leave out rows that refer to rows deleted since.")
@click.option(
    "--unsealed",
    "allow_unsigned",
    is_flag=True,
    help="Accept an unencrypted archive from before ARCHIVE_KEYS had a key.",
)
@json_option
def restore(*, month: datetime, table: str | None, leave_out: bool, allow_unsigned: bool, as_json: bool) -> None:
    """Restore a month from the archive; the archive still has it afterwards.

    Example: flask partitions restore --month 2024-05 --table attendance_records
    """
    first = month.date()
    done: list[dict[str, Any]] = []
    with _maintenance() as connection:
        archives, tables = Archives(_services().settings), _tables(connection, table)
        chosen = [
            name for name in tables if table or (first in archives.months(name) and not _has(connection, name, first))
        ]
        if not chosen:
            raise click.ClickException(f"no table has {first:%Y-%m} in the archive and not in the database.")
        for name in chosen:
            report = _reporter(calendar.name_of(name, first), as_json=as_json)
            restored = restoring.restore(
                _services(),
                connection,
                table=name,
                month=first,
                leave_out=leave_out,
                allow_unsigned=allow_unsigned,
                report=report,
            )
            done.append(_restored(restored))
    if as_json:
        click.echo(write(done).decode())
        return
    for one in done:
        left = one["erased"] + sum(one["without"].values())
        click.echo(f"Restored {one['rows']:,} rows of {one['name']}{f'; left out {left:,}' if left else ''}.")


def _restored(one: restoring.Restored) -> dict[str, Any]:
    return {
        "name": calendar.name_of(one.manifest.table, one.manifest.month),
        "rows": one.rows,
        "erased": one.erased,
        "without": {key: count for key, count in one.without.items() if count},
        "columns_gone": one.columns,
    }


@contextmanager
def _maintenance() -> Iterator[Connection]:
    """Open a connection of the maintenance role; expected errors become one line of output."""
    try:
        with months.maintenance(_services().settings) as connection:
            yield connection
    except (months.MonthsProblem, OSError) as problem:
        raise click.ClickException(str(problem)) from problem


def _tables(connection: Connection, table: str | None) -> list[str]:
    known = months.tables(connection)
    if table is not None and table not in known:
        raise click.ClickException(f"{table} is not partitioned; the partitioned tables are: {', '.join(known)}.")
    return [table] if table else known


def _has(connection: Connection, table: str, month: date) -> bool:
    here = any((one.table, one.first) == (table, month) for one in months.present(connection))
    return here or (table, month) in calendar.detached(connection)


def _reporter(name: str, *, as_json: bool) -> archiving.ReportStage:
    """Return a function that prints progress on standard error; nothing with --json."""
    return lambda stage: None if as_json else click.echo(f"{name}: {stage}", err=True)


def _services() -> ServiceContainer:
    services: ServiceContainer = current_app.extensions["campshub"]
    return services
