"""Validate messages from the broker: workers accept only calls that CampsHub has sent.

A call is so small (a task, a few ids) that it is parsed completely when it is taken from its queue, and serialized
again from the parsed values. Any other message is dropped before Celery sees it: a message that Celery cannot read
ends the worker's main process, and stays in the broker to end the next one as well.
"""

import base64
import logging
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import orjson
from celery.worker.consumer import Consumer
from kombu.transport import redis
from redis.exceptions import DataError, NoPermissionError

from campshub.core.jobs.celery_app import DELIVER, HEARTBEAT, TICK, VISIBLE_AFTER_S
from campshub.core.jobs.registry import Queue

log = logging.getLogger(__name__)

MOST_BYTES = 16_384  # a valid call has about a thousand
# The type in Redis of each key that a worker reads.
_TYPES = {
    **dict.fromkeys((queue.value for queue in Queue), b"list"),
    **dict.fromkeys(("_kombu.binding.default", "_kombu.binding_permanent.default"), b"set"),
    "unacked": b"hash",
    "unacked_index": b"zset",
    "unacked_mutex": b"string",
}
_YEARS = range(2000, 3000)  # far enough from the limits of datetime for any time zone
# The arguments of the tasks that are not about a message of the outbox.
_ARGUMENTS: dict[str, list[list[str]]] = {TICK: [[]], HEARTBEAT: [[queue.value] for queue in Queue]}


def rebuilt(raw: bytes, queue: Queue) -> bytes:
    """Check a message and serialize it again, in Celery's format (protocol 2).

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
    limits, expires = _limits(headers.get("timelimit")), _expiry(headers.get("expires"))
    body = orjson.dumps([arguments, {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}])
    call = {
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"task": task, "id": id_, "timelimit": limits, "expires": expires, "ignore_result": True},
        "properties": {
            "delivery_tag": str(uuid4()),
            "delivery_info": {"exchange": "", "routing_key": queue.value},
            "body_encoding": "base64",
        },
        "body": base64.b64encode(body).decode(),
    }
    return orjson.dumps(call)


def _takes(task: Any, arguments: Any) -> bool:
    if task == DELIVER:
        return isinstance(arguments, list) and len(arguments) == 2 and all(map(_is_id, arguments))  # noqa: PLR2004 - two ids
    return arguments in _ARGUMENTS[task]


def _is_id(value: Any) -> bool:
    return bool(str(UUID(value)) == value)


def _limits(value: Any) -> list[float | None]:
    hard, soft = value or (None, None)
    for limit in (hard, soft):
        if limit is not None and not (type(limit) in {int, float} and 0 < limit <= VISIBLE_AFTER_S):
            raise ValueError("not a limit")
    return [hard, soft]


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
    try:
        return key, rebuilt(raw, Queue(key.decode()))
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
        log.warning("a message of %d bytes in the broker is not a valid call; it is dropped", len(raw))
        return None


def remove_foreign_keys(client: Any) -> None:
    """Remove the keys of the broker whose type is not the one that workers read: each of these reads would fail."""
    for key, expected in _TYPES.items():
        if client.type(key) not in {expected, b"none"}:
            client.delete(key)
            log.warning("the key %r in the broker had another type than %s; it is removed", key, expected.decode())


class QoS(redis.QoS):
    """Stores unacknowledged messages in the broker, where other clients may write as well."""

    def restore_by_tag(self, tag: Any, client: Any = None, leftmost: bool = False) -> None:  # noqa: FBT001, FBT002 - kombu's
        """Put a message back on its queue; drop one that cannot be read or restored, since it would end every start."""
        try:
            super().restore_by_tag(tag, client, leftmost)  # type: ignore[no-untyped-call]
        except (ValueError, TypeError, RecursionError, DataError, NoPermissionError):
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
    """Celery's consumer on this transport; it takes calls from its queues, and neither sends nor reads events."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """Disable the messages between workers and the events, which also go through the broker and are not used."""
        unused = dict.fromkeys(("without_gossip", "without_mingle", "without_heartbeat"), True)
        super().__init__(*arguments, **{**options, **unused})

    def connection_for_read(self, heartbeat: float | None = None) -> Any:
        """Connect to the broker; the URL, with its choice of TLS, has already been parsed."""
        connection = self.app.connection_for_read(heartbeat=heartbeat)
        connection.transport_cls = Transport
        return self.ensure_connected(connection)

    def ensure_connected(self, conn: Any) -> Any:
        """Connect, and remove the keys that no worker can read."""
        connected = super().ensure_connected(conn)
        remove_foreign_keys(connected.default_channel.client)
        return connected
