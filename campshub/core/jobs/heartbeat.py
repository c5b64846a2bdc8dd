"""The workers' heartbeat: what a beat has sent through the broker and a worker has answered, by queue."""

from contextlib import closing
from typing import Any

import redis

from campshub.config import Settings
from campshub.core.jobs.registry import Queue
from campshub.core.redis.connection import ANSWER_WITHIN_S

KEPT_S = 86_400
# A worker that is busy with long jobs alone answers late; whoever has no other worker for urgent ones should know.
LATE_AFTER_S = 60.0


def _key(queue: str) -> str:
    return f"campshub:heartbeat:{queue}"


def _client(settings: Settings) -> Any:
    return redis.Redis.from_url(
        settings.celery_broker_url, socket_timeout=ANSWER_WITHIN_S, socket_connect_timeout=ANSWER_WITHIN_S
    )


def show(settings: Settings, queue: str, now: float) -> None:
    """Note that a queue's messages are answered."""
    with closing(_client(settings)) as client:
        client.set(_key(queue), f"{now:.3f}", ex=KEPT_S)


def ages(settings: Settings, now: float) -> dict[str, float | None]:
    """Return how long ago each queue was answered, in seconds; None: not within a day.

    :raises redis.RedisError: the broker does not answer.
    """
    with closing(_client(settings)) as client:
        found = client.mget([_key(queue) for queue in Queue])
    return {
        queue.value: max(0.0, round(now - float(at), 1)) if at is not None else None
        for queue, at in zip(Queue, found, strict=True)
    }
