"""The Celery app and the broker, which calls workers for messages in the outbox. It may lose or repeat calls."""

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING
from uuid import UUID

from campshub.config import Settings
from campshub.core.circuit_breaker import CircuitBreaker
from campshub.core.jobs import registry
from campshub.core.jobs.registry import Queue
from campshub.core.observe import metrics

if TYPE_CHECKING:
    from celery import Celery

log = logging.getLogger(__name__)

# The names of the Celery tasks.
DELIVER = "campshub.deliver"
TICK = "campshub.tick"
HEARTBEAT = "campshub.heartbeat"

PAUSE_S = 5.0
# A request that enqueues a job waits no longer than this for the broker; the relay sends what it did not take.
ANSWER_WITHIN_S = 0.5
# A job that does not end at its soft time limit is killed after this time.
AFTER_LIMIT_S = 30
# Longer than any job runs, so that the broker does not redeliver messages that wait behind others. The outbox decides.
VISIBLE_AFTER_S = 12 * 3600
# A worker that is killed while it restores unacknowledged messages blocks the others for so long.
RESTORE_LOCK_S = 30


def new_celery(settings: Settings, *, patience_s: float | None = None) -> "Celery":
    """Return the Celery app: JSON, no results, four queues; the outbox, not Celery, decides which jobs run."""
    from celery import Celery  # noqa: PLC0415 - the import takes long, and many processes never send anything
    from kombu.entity import Queue as KombuQueue  # noqa: PLC0415 - likewise

    timeouts = {"socket_timeout": patience_s, "socket_connect_timeout": patience_s} if patience_s else {}
    celery = Celery("campshub", broker=settings.celery_broker_url, set_as_current=False)
    celery.conf.update(
        accept_content=["json"],
        task_serializer="json",
        task_ignore_result=True,
        task_queues=[KombuQueue(queue.value, routing_key=queue.value) for queue in Queue],  # type: ignore[no-untyped-call]
        task_default_queue=Queue.DEFAULT.value,
        task_create_missing_queues=False,
        task_publish_retry=False,
        # A message is acknowledged before its job begins: the outbox knows which jobs are not done.
        task_acks_late=False,
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        worker_proc_alive_timeout=60,
        worker_soft_shutdown_timeout=20,
        worker_enable_remote_control=False,
        worker_consumer="campshub.core.jobs.message_guard:GuardedConsumer",
        worker_max_tasks_per_child=5_000,
        worker_max_memory_per_child=600_000,  # KiB; a larger child is replaced after its job
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_channel_error_retry=True,  # after a key of another type, which message_guard then removes
        broker_transport_options={
            "visibility_timeout": VISIBLE_AFTER_S,
            "health_check_interval": 10,
            "unacked_mutex_expire": RESTORE_LOCK_S,
            "priority_steps": [0],  # one list for each queue: config/redis/broker.acl names these keys
            **timeouts,
        },
        beat_scheduler="celery.beat:Scheduler",
        beat_max_loop_interval=1,
        timezone="UTC",
    )
    return celery


class BrokerSender:
    """Calls workers; gives up soon if the broker does not respond, because the jobs are stored in the outbox."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._breaker = CircuitBreaker(PAUSE_S, name="broker", changed=metrics.breaker_open.labels("broker").set)
        self._celery: Celery | None = None

    def send(self, calls: Iterable[tuple[UUID, UUID, str]]) -> int:
        """Call workers for messages (organization, id, job); return the number of calls that were sent."""
        sent = 0
        for organization_id, message_id, job in calls:
            if not self._breaker.allows():
                break
            try:
                self._call(organization_id, message_id, job)
            except Exception:  # noqa: BLE001 - kombu raises the transport's exceptions; the relay sends it again
                self._breaker.failed()
                log.warning("the broker did not accept a call; the relay will send it")
                break
            self._breaker.succeeded()
            sent += 1
        return sent

    def _call(self, organization_id: UUID, message_id: UUID, job: str) -> None:
        if self._celery is None:
            self._celery = new_celery(self._settings, patience_s=ANSWER_WITHIN_S)
        definition = registry.definition_of(job)  # None: a job of a later release, whose workers know it
        limit_s = definition.limit_s if definition else None
        limits = {"soft_time_limit": limit_s, "time_limit": limit_s + AFTER_LIMIT_S} if limit_s is not None else {}
        queue = definition.queue if definition else Queue.DEFAULT
        self._celery.send_task(DELIVER, (str(organization_id), str(message_id)), queue=queue.value, **limits)

    def close(self) -> None:
        """Close the connections to the broker."""
        if self._celery is not None:
            self._celery.close()
            self._celery = None
