"""Background jobs: the outbox, the runner, the schedule and the Celery workers."""
