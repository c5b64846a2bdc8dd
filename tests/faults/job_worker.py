"""Celery's application with test jobs whose effects can be counted. Its broker delivers unacknowledged messages again
after a few seconds; the real broker does so after hours."""

import os
import signal
import time

from sqlalchemy import text

from campshub.app import create_app
from campshub.config import load_settings
from campshub.core.jobs.celery_app import new_celery
from campshub.core.jobs.registry import RetryLater, Step, external_job, job, maintenance_job, stepped_job
from campshub.core.jobs.schedule import Every, scheduled
from campshub.core.jobs.worker import attach

STEPS = 40
VISIBLE_AFTER_S = 3
RESTORE_LOCK_S = 5
_EFFECT = text("INSERT INTO effects (job, event, step) VALUES (:job, :event, :step)")


def _effect(session, run, step=0):
    session.execute(_EFFECT, {"job": run.job, "event": run.id, "step": step})


@job("tests.count")
def count(session, run):
    _effect(session, run)


@job("tests.slow")
def slow(session, run, *, seconds):
    _effect(session, run)
    time.sleep(seconds)


@job("tests.fails")
def fails(session, run):
    _effect(session, run)
    raise ValueError("this message is not stored")


@job("tests.poison")
def poison(session, run):
    _effect(session, run)
    os.kill(os.getpid(), signal.SIGKILL)


@job("tests.later")
def later(session, run):
    _effect(session, run)
    raise RetryLater(3600)


@job("tests.scheduled", system=True)
def by_schedule(session, run):
    _effect(session, run)


@stepped_job("tests.steps")
def steps(session, run, position, *, seconds=0.05):
    number = (position or {"step": 0})["step"]
    time.sleep(seconds)
    _effect(session, run, number)
    if number + 1 == STEPS:
        return Step(finished=True, done=STEPS, total=STEPS, result={"steps": STEPS})
    return Step({"step": number + 1}, done=number + 1, total=STEPS)


@external_job("tests.outward")
def outward(run, *, seconds):
    time.sleep(seconds)


@maintenance_job("tests.maintain")
def maintain(connection, run, *, seconds):
    connection.execute(text("SELECT pg_sleep(:seconds)"), {"seconds": seconds})
    connection.execute(_EFFECT, {"job": run.job, "event": run.id, "step": 0})


scheduled("tests.scheduled", Every(minutes=1))

if os.environ.get("POSTGRES_DB"):  # as Celery's worker; the tests import only the jobs
    celery = new_celery(load_settings())
    celery.conf.broker_transport_options |= {
        "visibility_timeout": VISIBLE_AFTER_S,
        "unacked_mutex_expire": RESTORE_LOCK_S,
        # Restore every second, not every 100 s: a worker skips its first turn while another one holds the lock.
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
    }
    attach(celery, create_app)
