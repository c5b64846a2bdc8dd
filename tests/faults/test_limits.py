"""The declared limits while the cache Redis hangs: they hold in the process, and few requests wait to find out."""

import os
import signal
import time

import pytest

from campshub.app import create_app
from campshub.core.redis.connection import PAUSE_S
from devstack import place
from devstack.redis import Redis
from tests.conftest import Client, close, settings_of


@pytest.fixture(scope="module")
def redis(tmp_path_factory):
    """A cache Redis of this module's own, for it is stopped."""
    redis = Redis(place.make(tmp_path_factory.mktemp("limits")), "cache")
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
    """A Redis that takes connections and says nothing, as one whose machine swaps; it goes on afterwards."""
    pid = redis.process().pid
    os.kill(pid, signal.SIGSTOP)
    yield lambda: os.kill(pid, signal.SIGCONT)
    os.kill(pid, signal.SIGCONT)


@pytest.fixture
def questions(app, monkeypatch):
    """How often a connection to Redis was taken, by whatever part of the application."""
    pool = app.extensions["campshub"].cache.client.connection_pool
    taken, take = [], pool.get_connection
    monkeypatch.setattr(pool, "get_connection", lambda *given, **named: taken.append(1) or take(*given, **named))
    return taken


def sign_in(app, email="nobody@example.org"):
    return Client(app).post("/api/auth/token/", {"email": email, "password": "wrong"}).status


def test_one_request_waits_the_limits_hold_and_redis_is_left_alone(app, hung, questions):
    # Each of these would count twice, by address and by account, and ask twice what is left.
    began = time.monotonic()
    answers = [sign_in(app) for _ in range(20)]

    assert answers == [401] * 3 + [429] * 17
    assert len(questions) <= 1 + (time.monotonic() - began) / PAUSE_S, "one question a pause"


def test_when_redis_is_back_it_counts_again(app, redis, hung):
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
