"""Maintenance jobs: months, the epoch, archives, alerts, and deleting expired rows."""

import logging
from datetime import date
from typing import Any

from sqlalchemy import Connection

from campshub.core import partitions
from campshub.core.cache import purge
from campshub.core.dates import add_months
from campshub.core.db.retention import clean, expires, expiries
from campshub.core.db.session import Session
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.freshness import epoch
from campshub.core.http.idempotency import IdempotencyKey
from campshub.core.jobs import month_requests
from campshub.core.jobs.models import Job, OutboxMessage
from campshub.core.jobs.registry import (
    HOUR_S,
    Queue,
    RetryLater,
    Run,
    Step,
    external_job,
    job,
    maintenance_job,
    stepped_job,
)
from campshub.core.jobs.schedule import Daily, Every, Weekly, scheduled
from campshub.core.partitions import archive, restore, writable
from campshub.operations import alerts, checks
from campshub.operations import optimize as optimizing

log = logging.getLogger(__name__)

CLEANED_AT_ONCE = optimizing.CLEANED_AT_ONCE
BUSY_AGAIN_S = 2.0

expires(IdempotencyKey, "created_at < now() - INTERVAL '24 hours'")
# Longer than half a week, because the message of a schedule's slot is its claim.
expires(OutboxMessage, "finished_at < now() - INTERVAL '14 days'")
expires(Job, "finished_at < now() - INTERVAL '30 days'")


@job("cache.fold", system=True, queue=Queue.MAINTENANCE)
def fold(session: Session, run: Run) -> None:  # noqa: ARG001 - every job takes its run
    """Fold the rows of unstamped writes into the epoch's base."""
    epoch.fold(session)


@external_job("cache.sweep", queue=Queue.MAINTENANCE)
def sweep(run: Run) -> None:
    """Delete the keys of former identities from the cache Redis."""
    for url in run.services.settings.redis_urls:
        purge.purge_former_identities(url)


@stepped_job("cleanup.expired", system=True, queue=Queue.MAINTENANCE)
def clean_expired(session: Session, run: Run, position: dict[str, Any] | None) -> Step:  # noqa: ARG001 - see above
    """Delete a batch of expired rows of one table per step, then continue with the next table."""
    position = position or {"table": 0, "deleted": 0}
    number, every = position["table"], expiries()
    count = clean(session, every[number], most=CLEANED_AT_ONCE)
    deleted = position["deleted"] + count
    following = number if count == CLEANED_AT_ONCE else number + 1
    if following == len(every):
        return Step(finished=True, done=following, total=len(every), result={"deleted": deleted})
    return Step({"table": following, "deleted": deleted}, done=following, total=len(every))


@maintenance_job("partitions.ensure")
def ensure_months(connection: Connection, run: Run) -> None:
    """Create the missing months ahead."""
    today = run.created_at.date()
    for table in partitions.tables(connection):
        partitions.ensure(connection, table, today, add_months(today, partitions.MONTHS_AHEAD))


@external_job(month_requests.PROVIDE, limit_s=HOUR_S)
def provide_month(run: Run, *, tag: str, month: str) -> None:
    """Create or restore a month for which a write was refused.

    It runs in the default queue: in the maintenance queue it could wait for hours behind a vacuum.

    :raises RetryLater: the locks are held by others; the job is retried soon.
    """
    settings, first = run.services.settings, date.fromisoformat(month)
    try:
        with partitions.maintenance(settings) as connection:
            tables = writable.tables_of(tag)
            restore.provide_all(run.services, connection, tables=tables, month=first)
    except (partitions.PartitionsBusy, partitions.TableLocked) as problem:
        raise RetryLater(BUSY_AGAIN_S) from problem


@maintenance_job("partitions.archive")
def archive_months(connection: Connection, run: Run) -> None:
    """Archive the months older than the setting allows; without the setting, none.

    :raises MonthsProblem: some months could not be archived; the others were.
    """
    settings, today = run.services.settings, run.created_at.date()
    problems: list[partitions.MonthsProblem] = []
    for table, month in archive.due(connection, today=today, settings=settings):
        try:
            archive.archive(run.services, connection, table=table, month=month)
        except partitions.MonthsProblem as problem:
            log.warning("%s %s could not be archived: %s", table, month, problem)
            problems.append(problem)
    if problems:
        raise problems[0]


@external_job("alerts.check", queue=Queue.MAINTENANCE)
def check_thresholds(run: Run) -> None:
    """Run all threshold checks and record the alerts."""
    found = checks.run(run.services)
    with unit_of_work(system=True) as session:
        alerts.record(session, found)


@maintenance_job("database.optimize")
def optimize(connection: Connection, run: Run) -> None:  # noqa: ARG001 - see above
    """Rebuild bloated indexes and vacuum, like ``flask optimize-database``; ``cleanup.expired`` deletes rows hourly."""
    for done in (*optimizing.reindex(connection, log.info), *optimizing.vacuum(connection, log.info)):
        log.info("optimized", extra={"what": done.what, "subject": done.subject})


scheduled("partitions.ensure", Daily(hour=1))
scheduled("partitions.archive", Daily(hour=1, minute=30))
scheduled("alerts.check", Every(minutes=1))
scheduled("database.optimize", Weekly(day=6, hour=2))
scheduled("cache.fold", Daily(hour=3, minute=30))
scheduled("cache.sweep", Daily(hour=3, minute=40))
scheduled("cleanup.expired", Every(minutes=60))
