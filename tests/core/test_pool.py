import threading
import time

import pytest
from psycopg.pq import TransactionStatus
from sqlalchemy.util.queue import Empty

from campshub.core.db.pool import FairPool, FairQueue
from campshub.core.db.session import db


def in_line(queue, names, got):
    """Start a waiter a name, each in line before the next one starts."""
    threads = []
    for number, name in enumerate(names, 1):
        thread = threading.Thread(target=lambda name=name: got.append((name, queue.get(True, 5))))
        thread.start()
        threads.append(thread)
        while len(queue._waiters) < number:
            time.sleep(0.001)
    return threads


def test_whoever_has_waited_longest_is_served_first_and_nobody_passes_them():
    queue, got = FairQueue(1, use_lifo=True), []
    threads = in_line(queue, "abc", got)

    for number in range(3):
        queue.put(number, False)
        with pytest.raises(Empty):  # one who comes in that moment finds nothing to take
            queue.get(False)
        threads[number].join(5)

    assert got == [("a", 0), ("b", 1), ("c", 2)]
    assert queue.qsize() == 0


def test_who_gives_up_leaves_the_line():
    queue = FairQueue(1)
    with pytest.raises(Empty):
        queue.get(True, 0.01)

    queue.put("connection", False)

    assert queue.get(False) == "connection"


def test_who_is_interrupted_passes_on_what_they_were_handed(monkeypatch):
    queue = FairQueue(1)

    class Interrupted(BaseException):
        pass

    def interrupted(_self, _timeout=None):
        queue.put("connection", False)
        raise Interrupted

    monkeypatch.setattr(threading.Event, "wait", interrupted)
    with pytest.raises(Interrupted):
        queue.get(True, 1)

    assert queue.get(False) == "connection"


def test_every_engine_has_a_fair_pool(context):
    assert {type(engine.pool) for engine in db.engines.values()} == {FairPool}


def test_what_is_under_way_on_a_connection_that_comes_back_is_rolled_back(app, place):
    """Whoever takes it next must neither be in that transaction nor in its tenant."""
    engine = app.extensions["campshub"].engines[None]
    given_back = engine.raw_connection()
    driver = given_back.driver_connection
    with driver.cursor() as cursor:
        cursor.execute(f"BEGIN; SELECT set_config('app.organization_id', '{place.id}', true)")
    assert driver.pgconn.transaction_status == TransactionStatus.INTRANS
    given_back.close()

    assert driver.pgconn.transaction_status == TransactionStatus.IDLE
    with driver.cursor() as cursor:
        assert cursor.execute("SELECT current_setting('app.organization_id', true)").fetchone() in {("",), (None,)}
