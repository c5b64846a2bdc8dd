"""Metrics of jobs for Prometheus."""

from datetime import UTC, datetime

from campshub.core.jobs.registry import Run
from campshub.core.observe.prometheus import Counter, Histogram

_SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 1800)

runs = Counter("campshub_job_runs_total", "Runs of jobs, by outcome.", ["job", "outcome"])
seconds = Histogram("campshub_job_seconds", "Duration of a run.", ["job"], buckets=_SECONDS)
delays = Histogram("campshub_job_delay_seconds", "Time from the commit to the first run.", buckets=_SECONDS)


def begun(run: Run) -> None:
    """Record how long a message has waited for its first run."""
    if run.claim == 1:
        delays.observe((datetime.now(UTC) - run.created_at).total_seconds())


def ended(run: Run, outcome: str, took_s: float) -> None:
    """Count a run."""
    runs.labels(run.job, outcome).inc()
    seconds.labels(run.job).observe(took_s)
