"""Jobs through outbox, broker and a worker with two processes: how many a second, and how soon after the commit.

(a) Bursts: 2,000 events in transactions of fifty; the time until the last effect is visible.
(b) Single events with a pause between: from the start of the writing transaction to the start of the job.
"""

import os
import statistics
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flask import Flask

from bench import dataset
from bench.load import ROOT
from campshub.accounts.service import organizations as accounts
from campshub.core.db.models import new_id
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.jobs.store import enqueue
from devstack.stack import Stack

EVENTS, AT_ONCE = 2_000, 50
SINGLE, PAUSE_S = 200, 0.05
PATIENCE_S = 300
TABLE = """
DROP TABLE IF EXISTS bench_runs;
CREATE TABLE bench_runs (event uuid NOT NULL, at timestamptz NOT NULL);
GRANT INSERT ON bench_runs TO campshub_app;
"""
_DELAYS = (
    "SELECT 1000 * extract(epoch FROM r.at - o.created_at)::float8 FROM bench_runs r JOIN outbox o ON o.id = r.event"
)


def measure(*, rounds: int, seconds: int) -> dict[str, Any]:  # noqa: ARG001 - all parts are called alike
    """Measure both parts; return the figures."""
    with _started_stack() as (stack, app, organization_id), stack.primary.connect(stack.database) as connection:
        connection.autocommit = True
        bursts = []
        for _ in range(rounds):
            connection.execute("TRUNCATE bench_runs")
            begun = time.monotonic()
            _enqueue(app, organization_id, EVENTS, AT_ONCE)
            wrote = time.monotonic() - begun
            _wait(connection, EVENTS)
            bursts.append((EVENTS / (time.monotonic() - begun), EVENTS / wrote))
        connection.execute("TRUNCATE bench_runs")
        for _ in range(SINGLE):
            _enqueue(app, organization_id, 1, 1)
            time.sleep(PAUSE_S)
        _wait(connection, SINGLE)
        delays = sorted(row[0] for row in connection.execute(_DELAYS))
    return {
        "jobs": {
            "a second": round(statistics.median(done for done, _ in bursts)),
            "spread": f"{min(done for done, _ in bursts):.0f} to {max(done for done, _ in bursts):.0f}",
            "enqueued a second": round(statistics.median(enqueued for _, enqueued in bursts)),
        },
        "from commit to start": {
            "p50 ms": round(statistics.median(delays), 1),
            "p99 ms": round(delays[int(0.99 * len(delays))], 1),
            "worst ms": round(delays[-1], 1),
        },
    }


@contextmanager
def _started_stack() -> Iterator[tuple[Stack, Flask, uuid.UUID]]:
    folder = Path(os.environ.get("DEVSTACK_DIR") or ROOT / ".devstack") / "bench-jobs"
    stack = Stack(folder, pgbouncer=True, replica=False, background="bench.apps.jobs")
    try:
        stack.start_data()
        dataset.migrate({**stack.environment(), "FLASK_APP": "wsgi.py"})
        with stack.primary.connect(stack.database) as connection:
            connection.execute(TABLE)
        stack.start_background()
        app, organization_id = dataset.application(stack.environment()), new_id()
        with app.app_context(), unit_of_work(system=True, organization_id=organization_id) as session:
            accounts.create_organization(
                session, organization_id=organization_id, name="Jobs", time_zone="UTC", currency="EUR"
            )
        _warm_up(stack, app, organization_id)
        yield stack, app, organization_id
    finally:
        stack.stop()


def _warm_up(stack: Stack, app: Flask, organization_id: uuid.UUID) -> None:
    """Wait until the worker runs jobs: its processes create their applications first."""
    _enqueue(app, organization_id, AT_ONCE, AT_ONCE)
    with stack.primary.connect(stack.database) as connection:
        connection.autocommit = True
        _wait(connection, AT_ONCE)


def _enqueue(app: Flask, organization_id: uuid.UUID, events: int, at_once: int) -> None:
    with app.app_context():
        for _ in range(events // at_once):
            with unit_of_work(organization_id=organization_id) as session:
                for _ in range(at_once):
                    enqueue(session, "bench.run")


def _wait(connection: Any, events: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while connection.execute("SELECT count(*) FROM bench_runs").fetchone()[0] < events:
        if time.monotonic() > deadline:
            raise TimeoutError("the worker does not do its jobs")
        time.sleep(0.02)
