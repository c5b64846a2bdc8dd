"""The three tasks of Celery's workers: run the job of a message, tick, and record a heartbeat.

Celery only calls workers. Which jobs exist, and which of them are due, is in the outbox, so a lost call loses no job.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from celery import Celery, signals
from flask import Flask

from campshub.config import Settings
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.jobs import heartbeat, runner, schedule, store
from campshub.core.jobs.celery_app import DELIVER, HEARTBEAT, TICK
from campshub.core.jobs.registry import Queue
from campshub.core.observe import metrics
from campshub.core.observe.prometheus import FOLDER, start_http_server
from campshub.core.service_base import Services

TICK_EVERY_S = 5.0
HEARTBEAT_EVERY_S = 10.0
# For this time the relay does not repeat a call. A duplicate call does no harm: only one worker can claim the job.
RELAYED_AGAIN_S = 300.0


class Worker:
    """The application of one child process, created in it, because connections must not be shared with the parent."""

    def __init__(self, create_app: Callable[[], Flask]) -> None:
        self._create_app = create_app
        self._app: Flask | None = None

    def start(self, **_: Any) -> None:
        """Create the application."""
        self._app = self._create_app()

    @property
    def app(self) -> Flask:
        """The application."""
        if self._app is None:  # a pool that starts no child process
            self.start()
        return self._app  # type: ignore[return-value] # it has just been created

    def deliver(self, organization_id: str, message_id: str) -> None:
        """Run the job of a message, if it is due."""
        with self.app.app_context():
            runner.run_one(self.app.extensions["campshub"], UUID(organization_id), UUID(message_id))

    def tick(self) -> None:
        """Enqueue due slots of the schedule, and call workers for due messages whose call was lost."""
        with self.app.app_context():
            tick(self.app.extensions["campshub"])

    def beat(self, queue: str) -> None:
        """Record a heartbeat of a queue."""
        heartbeat.record(self.app.extensions["campshub"].settings, queue, time.time())


def tick(services: Services) -> int:
    """Enqueue the slots that have begun, and call workers for all due messages; return the number of calls."""
    with unit_of_work(system=True) as session:
        due = schedule.enqueue_due(session, datetime.now(UTC))
    with unit_of_work(system=True) as session:
        due += store.relay(session, again_s=RELAYED_AGAIN_S)
    return services.sender.send((row.organization_id, row.id, row.job) for row in due)


def attach_metrics(settings: Settings) -> None:
    """Serve the metrics of all processes of one worker over HTTP, if a port is configured."""
    folder = FOLDER
    if not settings.worker_metrics_port or folder is None:
        return

    def delete_files(**_: Any) -> None:
        """Delete the metrics of former processes."""
        for file in folder.glob("*.db"):
            file.unlink(missing_ok=True)

    def serve(**_: Any) -> None:
        start_http_server(settings.worker_metrics_port, settings.worker_metrics_host, registry=metrics.all_processes())

    signals.worker_init.connect(delete_files, weak=False)
    signals.worker_ready.connect(serve, weak=False)


def _as_function(work: Callable[..., None]) -> Callable[..., None]:
    """Wrap a method in a function: for a method, Celery would expect one more argument in the call."""

    def task(*arguments: str) -> None:
        work(*arguments)

    return task


def attach(celery: Celery, create_app: Callable[[], Flask]) -> Celery:
    """Register the worker's tasks and the beat schedule with Celery."""
    worker = Worker(create_app)
    signals.worker_process_init.connect(worker.start, weak=False)
    for name, work in ((DELIVER, worker.deliver), (TICK, worker.tick), (HEARTBEAT, worker.beat)):
        celery.task(name=name)(_as_function(work))
    beats = {
        f"heartbeat of {queue}": {
            "task": HEARTBEAT,
            "schedule": HEARTBEAT_EVERY_S,
            "args": (queue.value,),
            "options": {"queue": queue.value, "expires": HEARTBEAT_EVERY_S},
        }
        for queue in Queue
    }
    ticks = {
        "tick": {
            "task": TICK,
            "schedule": TICK_EVERY_S,
            "options": {"queue": Queue.CRITICAL.value, "expires": TICK_EVERY_S},
        }
    }
    celery.conf.beat_schedule = {**ticks, **beats}
    return celery
