"""The tests, the database and the caches have the same clock, also when it is shifted."""

import os
import time
from datetime import UTC, datetime, timedelta

import redis

CLOSE = timedelta(seconds=60)  # a shift is days; a busy machine may take seconds between two readings


def test_every_server_has_the_clock_of_the_tests(sql, settings, app):
    ours = datetime.now(UTC)
    ((database, uuid_at),) = sql("SELECT now(), uuid_extract_timestamp(uuidv7())")
    with redis.Redis.from_url(settings.redis_urls[0]) as cache:
        seconds, _ = cache.time()

    for theirs in (database, uuid_at, datetime.fromtimestamp(seconds, UTC)):
        assert abs(theirs - ours) < CLOSE


def test_the_clock_is_the_one_of_the_run():
    started = float(os.environ.get("CLOCK_STARTED") or time.time())

    assert timedelta(0) <= timedelta(seconds=time.time() - started) < timedelta(days=1)
