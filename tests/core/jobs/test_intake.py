"""A worker accepts only messages that this application has sent, and rebuilds them from checked values."""

import base64
import json
from contextlib import closing
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
import redis

from campshub.core.db.models import new_id
from campshub.core.jobs import message_guard, registry
from campshub.core.jobs.celery_app import AFTER_LIMIT_S, DELIVER, HEARTBEAT, TICK, new_celery
from campshub.core.jobs.registry import Queue, job
from tests.conftest import settings_of


@pytest.fixture
def broker(stack):
    with closing(redis.Redis.from_url(stack.broker.url)) as client:
        client.delete(*Queue)
        yield client
        client.delete(*Queue)


@pytest.fixture
def sent(app, broker):
    """A message as the application sends it."""
    job("tests.job", queue=Queue.REPORTS)(lambda session, run: None)
    assert app.extensions["campshub"].sender.send([(new_id(), new_id(), "tests.job")]) == 1
    return broker.rpop("reports")


@pytest.fixture
def lines(monkeypatch):
    """The log lines."""
    found = []
    monkeypatch.setattr(message_guard.log, "warning", lambda text, *given: found.append(text % given))
    return found


def arguments_of(message):
    return json.loads(base64.b64decode(message["body"]))


def changed(raw, part, **values):
    message = json.loads(raw)
    (message[part] if part else message).update(values)
    return json.dumps(message).encode()


def test_a_message_reaches_celery_complete(sent):
    key, written = message_guard.taken((b"reports", sent))

    before, after = json.loads(sent), json.loads(written)
    assert key == b"reports"
    assert arguments_of(after) == arguments_of(before)
    assert {name: after["headers"][name] for name in ("task", "id")} == {
        "task": DELIVER,
        "id": before["headers"]["id"],
    }
    limit_s = registry.definition_of("tests.job").limit_s
    assert after["headers"]["timelimit"] == before["headers"]["timelimit"] == [limit_s + AFTER_LIMIT_S, limit_s]
    assert after["properties"]["delivery_info"] == before["properties"]["delivery_info"]
    for name in ("content-type", "content-encoding"):
        assert after[name] == before[name]


def test_what_the_beat_sends_reaches_celery(stack, scratch, broker):
    celery = new_celery(settings_of(stack, scratch))
    celery.send_task(TICK, queue="critical", expires=5.0)
    celery.send_task(HEARTBEAT, ("reports",), queue="critical", expires=10.0)
    celery.close()

    for task in (TICK, HEARTBEAT):
        raw = broker.rpop("critical")
        headers = json.loads(message_guard.taken((b"critical", raw))[1])["headers"]
        assert headers["task"] == task
        expires = datetime.fromisoformat(headers["expires"])
        assert expires == datetime.fromisoformat(json.loads(raw)["headers"]["expires"])
        assert timedelta(0) < expires - datetime.now(UTC) < timedelta(seconds=10)


def test_values_added_by_others_do_not_reach_celery(sent):
    forged = changed(sent, "headers", eta="2999-01-01T00:00:00+00:00", shadow="x", stamps=5, errbacks=["x"])
    forged = changed(forged, "properties", delivery_tag=["x"], priority="x", reply_to={"x": 1}, delivery_info=7)
    forged = changed(forged, "", **{"content-type": "application/x-python-serialize", "content-encoding": 7})

    written = message_guard.taken((b"reports", forged))[1]

    ours = json.loads(message_guard.taken((b"reports", sent))[1])
    theirs = json.loads(written)
    assert theirs["properties"].pop("delivery_tag") != ours["properties"].pop("delivery_tag")
    assert theirs == ours


def test_an_invalid_message_is_dropped_and_its_content_not_logged(sent, lines):
    def body(text):
        return changed(sent, "", body=base64.b64encode(text.encode()).decode())

    one = str(new_id())
    wrong = [
        *(b"", b"{{{secret", b"[1,2]", b"5", b"null", b"\xff\xfe", b"[" * 10_000, b'"' + b"x" * 20_000 + b'"'),
        *(body(text) for text in ("5", "", "[]", "[[],{}]", "[[1,2],{},{}]", '[["secret","x"],{},{}]', "[[[]],{},{}]")),
        body(json.dumps([[one], {}, {}])),
        body(json.dumps([[one, one], {"more": 1}, {}])),
        body(json.dumps([[one, one.upper()], {}, {}])),
        body(json.dumps([{one: 1, str(new_id()): 2}, {}, {}])),
        changed(sent, "", body="%%%"),
        changed(sent, "", body=5),
        changed(sent, "", headers=None),
        changed(sent, "properties", body_encoding="rot13"),
        changed(sent, "", properties=5),
        *(changed(sent, "headers", task=task) for task in ("celery.backend_cleanup", TICK, HEARTBEAT, None, ["x"])),
        *(changed(sent, "headers", id=id_) for id_ in ("secret", None, ["x"], 5)),
        *(changed(sent, "headers", timelimit=limits) for limits in ("zz", "z", 5, [-1, 1], [1], ["1", 1], [True, 1])),
        changed(sent, "headers", timelimit=[10**9, 1]),
        *(
            changed(sent, "headers", expires=at)
            for at in ("secret", 5, "2026-01-01T00:00:00", "0001-01-01T00:00:00+14:00")
        ),
    ]

    assert [raw for raw in wrong if message_guard.taken((b"default", raw)) is not None] == []
    assert message_guard.taken((b"celeryev.secret", sent)) is None
    assert lines == [
        f"a message of {len(raw)} bytes in the broker is not a valid call; it is dropped" for raw in (*wrong, sent)
    ]


def test_a_timeout_is_no_message(lines):
    assert message_guard.taken(None) is None
    assert lines == []


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
def test_a_worker_uses_tls_if_the_url_says_so(stack, scratch, scheme):
    celery = new_celery(settings_of(stack, scratch, celery_broker_url=f"{scheme}://127.0.0.1:1/0"))
    worker = SimpleNamespace(app=celery, ensure_connected=lambda connection: connection)

    connection = message_guard.GuardedConsumer.connection_for_read(worker)

    assert isinstance(connection.transport, message_guard.Transport)
    assert bool(connection.ssl) == (scheme == "rediss")
    celery.close()
