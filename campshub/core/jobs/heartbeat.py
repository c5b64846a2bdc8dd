"""The workers' heartbeat: for each queue, when a worker last ran the heartbeat task that Celery beat sends."""

from contextlib import closing
from typing import Any

import redis

from campshub.config import Settings
from campshub.core.jobs.registry import Queue
from campshub.core.redis.connection import ANSWER_WITHIN_S

TTL_S = 86_400
# A worker that is busy with long jobs has a late heartbeat; urgent jobs need another worker.
LATE_AFTER_S = 60.0


def _key(queue: str) -> str:
    return f"campshub:heartbeat:{queue}"


def _client(settings: Settings) -> Any:
    return redis.Redis.from_url(
        settings.celery_broker_url, socket_timeout=ANSWER_WITHIN_S, socket_connect_timeout=ANSWER_WITHIN_S
    )


def record(settings: Settings, queue: str, now: float) -> None:
    """Record that a worker serves a queue."""
    with closing(_client(settings)) as client:
        client.set(_key(queue), f"{now:.3f}", ex=TTL_S)


def ages(settings: Settings, now: float) -> dict[str, float | None]:
    """Return the age of each queue's last heartbeat, in seconds; None: none within a day.

    :raises redis.RedisError: the broker does not respond.
    """
    with closing(_client(settings)) as client:
        found = client.mget([_key(queue) for queue in Queue])
    return {
        queue.value: max(0.0, round(now - float(at), 1)) if at is not None else None
        for queue, at in zip(Queue, found, strict=True)
    }
