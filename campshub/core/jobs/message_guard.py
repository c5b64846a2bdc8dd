"""Validate messages from the broker: workers accept only calls that CampsHub has sent.

A call is so small (a task, a few ids) that it is parsed completely when it is taken from its queue, and serialized
again from the parsed values. Any other message is dropped before Celery sees it: a message that Celery cannot read
ends the worker's main process, and stays in the broker to end the next one as well.
"""

import base64
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import orjson
from celery.worker.consumer import Consumer
from kombu.transport import redis

from campshub.core.jobs.celery_app import DELIVER, HEARTBEAT, TICK, VISIBLE_AFTER_S
from campshub.core.jobs.registry import Queue

log = logging.getLogger(__name__)

MOST_BYTES = 16_384  # a valid call has about a thousand
_YEARS = range(2000, 3000)  # far enough from the limits of datetime for any time zone


@dataclass(frozen=True)
class JobMessage:
    """A call of a worker."""

    id: str
    task: str
    arguments: list[str]
    # Hard and soft time limit, in seconds; None: the worker's default.
    limits: tuple[float | None, float | None]
    expires: str | None

    def write(self, queue: str) -> bytes:
        """Return the message in Celery's format (protocol 2), as delivered from a queue."""
        body = orjson.dumps([self.arguments, {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}])
        headers = {
            "lang": "py",
            "task": self.task,
            "id": self.id,
            "root_id": self.id,
            "retries": 0,
            "timelimit": self.limits,
            "expires": self.expires,
            "ignore_result": True,
        }
        properties = {
            "correlation_id": self.id,
            "delivery_tag": str(uuid4()),
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": queue},
            "priority": 0,
            "body_encoding": "base64",
        }
        message = {"content-type": "application/json", "content-encoding": "utf-8", "headers": headers}
        return orjson.dumps({**message, "properties": properties, "body": base64.b64encode(body).decode()})


def read_call(raw: bytes) -> JobMessage:
    """Parse a message.

    :raises ValueError, TypeError, KeyError, AttributeError, OverflowError: it is not a valid call.
    """
    if len(raw) > MOST_BYTES:
        raise ValueError("too long")
    message = orjson.loads(raw)
    headers, encoding = message["headers"], message["properties"]["body_encoding"]
    arguments, keywords, _ = orjson.loads(base64.b64decode(message["body"], validate=True))
    task, id_ = headers["task"], headers["id"]
    if encoding != "base64" or keywords != {} or not _is_id(id_) or not _takes(task, arguments):
        raise ValueError("not a valid call")
    hard, soft = headers.get("timelimit") or (None, None)
    return JobMessage(id_, task, arguments, (_limit(hard), _limit(soft)), _expiry(headers.get("expires")))


def _takes(task: Any, arguments: Any) -> bool:
    if task == DELIVER:
        return isinstance(arguments, list) and len(arguments) == 2 and all(map(_is_id, arguments))  # noqa: PLR2004 - two ids
    if task == HEARTBEAT:
        return any(arguments == [queue.value] for queue in Queue)
    return bool(task == TICK and arguments == [])


def _is_id(value: object) -> bool:
    return isinstance(value, str) and str(UUID(value)) == value


def _limit(value: Any) -> float | None:
    if value is not None and not (type(value) in {int, float} and 0 < value <= VISIBLE_AFTER_S):
        raise ValueError("not a limit")
    limit: float | None = value
    return limit


def _expiry(value: Any) -> str | None:
    if value is None:
        return None
    at = datetime.fromisoformat(value)
    if at.tzinfo is None or at.year not in _YEARS:
        raise ValueError("not a time")
    return at.astimezone(UTC).isoformat()


def taken(reply: Any) -> tuple[bytes, bytes] | None:
    """Return the reply of BRPOP (the list's key, the message) with the message parsed and serialized again.

    None, as for a time-out, if the message is not a valid call: it has been removed from its queue, and is dropped.
    """
    if not reply:
        return None
    key, raw = reply
    queue = key.decode(errors="replace").split(Channel.sep)[0]
    try:
        return key, read_call(raw).write(Queue(queue).value)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
        log.warning("a message of %d bytes in the broker is not a valid call; it is dropped", len(raw))
        return None


class QoS(redis.QoS):
    """Stores unacknowledged messages in the broker, where other clients may write as well."""

    def restore_by_tag(self, tag: Any, client: Any = None, leftmost: bool = False) -> None:  # noqa: FBT001, FBT002 - kombu's
        """Put a message back on its queue; drop one that cannot be read, since it would end every start."""
        try:
            super().restore_by_tag(tag, client, leftmost)  # type: ignore[no-untyped-call]
        except (ValueError, TypeError, RecursionError):
            self._remove_from_indices(tag).execute()  # type: ignore[no-untyped-call]
            log.warning("an unacknowledged message in the broker cannot be read; it is dropped")


class Channel(redis.Channel):
    """Takes calls from their queues."""

    QoS = QoS

    def _create_client(self, asynchronous: bool = False) -> Any:  # noqa: FBT001, FBT002 - kombu's
        """Create a Redis client that passes only valid calls, because kombu reads every message that it returns."""
        client = super()._create_client(asynchronous)  # type: ignore[no-untyped-call]
        client.set_response_callback("BRPOP", taken)
        return client


class Transport(redis.Transport):
    """Redis, with channels that accept only valid calls."""

    Channel = Channel


class GuardedConsumer(Consumer):  # type: ignore[misc] # Celery has no types
    """Celery's consumer on this transport; it listens only to its queues, not to other workers."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """Disable the messages between workers, which also come through the broker and are not used here."""
        super().__init__(*arguments, **{**options, "without_gossip": True, "without_mingle": True})

    def connection_for_read(self, heartbeat: float | None = None) -> Any:
        """Connect to the broker; the URL, with its choice of TLS, has already been parsed."""
        connection = self.app.connection_for_read(heartbeat=heartbeat)
        connection.transport_cls = Transport
        return self.ensure_connected(connection)
