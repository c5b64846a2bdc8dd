"""What workers take off the broker: calls of our own, and nothing else.

A call says so little (which task, a few ids) that it is read whole as soon as it comes off its queue, and written anew
from that. Whatever else lies there is dropped before Celery sees it: a message that it cannot read ends the worker's
main process, and stays in the broker to end the next one too.
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

MOST_BYTES = 16_384  # a call of ours has about a thousand
_YEARS = range(2000, 3000)  # in which no time zone takes a date out of what can be reckoned with


@dataclass(frozen=True)
class JobMessage:
    """What a worker is called for."""

    id: str
    task: str
    arguments: list[str]
    # Hard and soft, in seconds; None: of the worker's own.
    limits: tuple[float | None, float | None]
    expires: str | None

    def write(self, queue: str) -> bytes:
        """Return the message as Celery sends it (its protocol 2), on its way from a queue."""
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
        told = {"content-type": "application/json", "content-encoding": "utf-8", "headers": headers}
        return orjson.dumps({**told, "properties": properties, "body": base64.b64encode(body).decode()})


def read_call(raw: bytes) -> JobMessage:
    """Read a message.

    :raises ValueError, TypeError, KeyError, AttributeError, OverflowError: it is no call of ours.
    """
    if len(raw) > MOST_BYTES:
        raise ValueError("too long")
    told = orjson.loads(raw)
    headers, encoding = told["headers"], told["properties"]["body_encoding"]
    arguments, named, _ = orjson.loads(base64.b64decode(told["body"], validate=True))
    task, id_ = headers["task"], headers["id"]
    if encoding != "base64" or named != {} or not _is_id(id_) or not _takes(task, arguments):
        raise ValueError("no call of ours")
    hard, soft = headers.get("timelimit") or (None, None)
    return JobMessage(id_, task, arguments, (_limit(hard), _limit(soft)), _expiry(headers.get("expires")))


def _takes(task: Any, given: Any) -> bool:
    if task == DELIVER:
        return isinstance(given, list) and len(given) == 2 and all(map(_is_id, given))  # noqa: PLR2004 - two ids
    if task == HEARTBEAT:
        return any(given == [queue.value] for queue in Queue)
    return bool(task == TICK and given == [])


def _is_id(given: object) -> bool:
    return isinstance(given, str) and str(UUID(given)) == given


def _limit(given: Any) -> float | None:
    if given is not None and not (type(given) in {int, float} and 0 < given <= VISIBLE_AFTER_S):
        raise ValueError("no limit")
    limit: float | None = given
    return limit


def _expiry(given: Any) -> str | None:
    if given is None:
        return None
    at = datetime.fromisoformat(given)
    if at.tzinfo is None or at.year not in _YEARS:
        raise ValueError("no time")
    return at.astimezone(UTC).isoformat()


def taken(answer: Any) -> tuple[bytes, bytes] | None:
    """Return what BRPOP has given (the list's key, the message) with the message written anew.

    None, as when it has waited in vain, where the message is no call of ours: it is off its queue, and forgotten.
    """
    if not answer:
        return None
    key, raw = answer
    queue = key.decode(errors="replace").split(Channel.sep)[0]
    try:
        return key, read_call(raw).write(Queue(queue).value)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
        log.warning("a message of %d bytes in the broker is no call of ours; it is dropped", len(raw))
        return None


class QoS(redis.QoS):
    """Remembers what has been taken and not acknowledged; in the broker, where others may write as well."""

    def restore_by_tag(self, tag: Any, client: Any = None, leftmost: bool = False) -> None:  # noqa: FBT001, FBT002 - kombu's
        """Put a message back on its queue; one that cannot be read is dropped, or it would end every start."""
        try:
            super().restore_by_tag(tag, client, leftmost)  # type: ignore[no-untyped-call]
        except (ValueError, TypeError, RecursionError):
            self._remove_from_indices(tag).execute()  # type: ignore[no-untyped-call]
            log.warning("a message that the broker kept as not acknowledged is none; it is dropped")


class Channel(redis.Channel):
    """Takes calls off their queues."""

    QoS = QoS

    def _create_client(self, asynchronous: bool = False) -> Any:  # noqa: FBT001, FBT002 - kombu's
        """Make a client of Redis that lets through what is a call of ours: kombu reads whatever comes out of it."""
        client = super()._create_client(asynchronous)  # type: ignore[no-untyped-call]
        client.set_response_callback("BRPOP", taken)
        return client


class Transport(redis.Transport):
    """Redis, with channels that take calls of ours alone."""

    Channel = Channel


class Intake(Consumer):  # type: ignore[misc] # Celery has no types
    """Celery's consumer on that transport; it listens to its queues, and to no other worker."""

    def __init__(self, *given: Any, **named: Any) -> None:
        """Leave out what workers tell each other, which comes through the broker too and decides nothing here."""
        super().__init__(*given, **{**named, "without_gossip": True, "without_mingle": True})

    def connection_for_read(self, heartbeat: float | None = None) -> Any:
        """Connect to the broker; the address has been read by then, and has said whether TLS is spoken."""
        connection = self.app.connection_for_read(heartbeat=heartbeat)
        connection.transport_cls = Transport
        return self.ensure_connected(connection)
