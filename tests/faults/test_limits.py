"""Declared rate limits while the cache Redis hangs: they hold in the process, and few requests wait for Redis."""

import os
import signal
import time

import pytest

from campshub.app import create_app
from campshub.core.redis.connection import PAUSE_S
from devstack import workspace
from devstack.redis import Redis
from tests.conftest import Client, close, settings_of


@pytest.fixture(scope="module")
def redis(tmp_path_factory):
    """A separate cache Redis for this module, since the tests stop it."""
    redis = Redis(workspace.make(tmp_path_factory.mktemp("limits")), "cache")
    redis.start()
    yield redis
    redis.stop()


@pytest.fixture
def app(stack, database, redis):
    app = create_app(settings_of(stack, database, redis_url=redis.url, rate_limit_login="3/minute", log_level="ERROR"))
    yield app
    close(app)


@pytest.fixture
def hung(redis):
    """A Redis that accepts connections but does not respond, like on a swapping machine; it resumes afterwards."""
    pid = redis.process().pid
    os.kill(pid, signal.SIGSTOP)
    yield lambda: os.kill(pid, signal.SIGCONT)
    os.kill(pid, signal.SIGCONT)


@pytest.fixture
def connections(app, monkeypatch):
    """Count how often any part of the application took a connection to Redis."""
    pool = app.extensions["campshub"].cache.client.connection_pool
    taken, take = [], pool.get_connection
    monkeypatch.setattr(pool, "get_connection", lambda *given, **named: taken.append(1) or take(*given, **named))
    return taken


def sign_in(app, email="unknown@example.org"):
    return Client(app).post("/api/auth/token/", {"email": email, "password": "wrong"}).status


def test_one_request_waits_the_limits_hold_and_redis_is_skipped(app, hung, connections):
    # Each sign-in counts twice, by endpoint and by account, and reads both remaining quotas.
    began = time.monotonic()
    responses = [sign_in(app) for _ in range(20)]

    assert responses == [401] * 3 + [429] * 17
    assert len(connections) <= 1 + (time.monotonic() - began) / PAUSE_S, "one connection per pause"


def test_after_redis_resumes_limits_count_in_it_again(app, redis, hung):
    client = app.extensions["campshub"].cache.client
    assert sign_in(app, "first@example.org") == 401
    hung()
    before = client.dbsize()

    deadline = time.monotonic() + 120
    number = 0
    while client.dbsize() < before + 2 and time.monotonic() < deadline:
        time.sleep(0.2)
        number += 1
        assert sign_in(app, f"{number}@example.org") == 401
    assert client.dbsize() >= before + 2
