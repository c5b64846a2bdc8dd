"""Celery's application with one extra job, which only records when it ran."""

from typing import Any

from sqlalchemy import text

from campshub.app import create_app
from campshub.config import load_settings
from campshub.core.db.session import Session
from campshub.core.jobs.celery_app import new_celery
from campshub.core.jobs.registry import Run, job
from campshub.core.jobs.worker import attach

_RAN = text("INSERT INTO bench_runs (event, at) VALUES (:event, clock_timestamp())")


@job("bench.run")
def run(session: Session, run: Run) -> None:
    session.execute(_RAN, {"event": run.id})


celery: Any = attach(new_celery(load_settings()), create_app)
