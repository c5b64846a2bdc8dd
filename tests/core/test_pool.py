import os
import socket
import threading
import time

import psycopg
import pytest
from psycopg.pq import TransactionStatus
from sqlalchemy.util.queue import Empty

from campshub.core.db import engine as engines
from campshub.core.db.engine import FairPool, FairQueue
from campshub.core.db.session import PRIMARY, db
from campshub.core.observe import metrics


def waiters(queue, names, got):
    """Start one waiter per name, each after the previous one waits."""
    threads = []
    for number, name in enumerate(names, 1):
        thread = threading.Thread(target=lambda name=name: got.append((name, queue.get(True, 5))))
        thread.start()
        threads.append(thread)
        while len(queue._waiters) < number:
            time.sleep(0.001)
    return threads


def test_waiters_are_served_in_order_and_no_caller_overtakes_them():
    queue, got = FairQueue(1, use_lifo=True), []
    threads = waiters(queue, "abc", got)

    for number in range(3):
        queue.put(number, False)
        with pytest.raises(Empty):  # a new caller finds nothing
            queue.get(False)
        threads[number].join(5)

    assert got == [("a", 0), ("b", 1), ("c", 2)]
    assert queue.qsize() == 0


def test_a_waiter_that_times_out_leaves_the_queue():
    queue = FairQueue(1)
    with pytest.raises(Empty):
        queue.get(True, 0.01)

    queue.put("connection", False)

    assert queue.get(False) == "connection"


def test_an_interrupted_waiter_passes_its_connection_on(monkeypatch):
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


@pytest.fixture
def engine(app, context):
    """An engine with an empty pool; no connection may be checked out after the test."""
    found = app.extensions["campshub"].engines[None]
    found.dispose()
    yield found
    assert found.pool.checkedout() == 0
    found.dispose()


@pytest.mark.parametrize("take", ["raw_connection", "borrow"])
def test_an_open_transaction_on_a_returned_connection_is_rolled_back(engine, tenant, take):
    """The next borrower must not be in that transaction or in its tenant."""
    returned = engine.raw_connection() if take == "raw_connection" else engine.pool.borrow()
    driver = returned.driver_connection
    with driver.cursor() as cursor:
        cursor.execute(f"BEGIN; SELECT set_config('app.organization_id', '{tenant.id}', true)")
    assert driver.pgconn.transaction_status == TransactionStatus.INTRANS
    returned.close()

    assert driver.pgconn.transaction_status == TransactionStatus.IDLE
    with driver.cursor() as cursor:
        assert cursor.execute("SELECT current_setting('app.organization_id', true)").fetchone() in {("",), (None,)}


def in_use(engine):
    """Return the number of checked-out connections to the primary, from the metrics."""
    return metrics.pool_in_use.labels(PRIMARY)._value.get()


def test_a_borrowed_connection_is_counted_until_it_is_released(engine):
    before = in_use(engine)
    first = engine.pool.borrow()
    assert (engine.pool.checkedout(), in_use(engine)) == (1, before + 1)
    first.close()
    assert (engine.pool.checkedout(), in_use(engine)) == (0, before)

    second = engine.pool.borrow()
    second.close()
    assert second.driver_connection is first.driver_connection


def test_an_invalidated_connection_is_not_borrowed(engine):
    spoilt = engine.pool.borrow()
    spoilt.info["remembered"] = True
    spoilt.invalidate(OSError("the answer is still on its way"))
    spoilt.close()

    following = engine.pool.borrow()
    following.close()
    assert following.driver_connection is not spoilt.driver_connection
    assert spoilt.driver_connection.closed
    assert "remembered" not in following.info


def test_a_connection_that_cannot_be_rolled_back_is_not_borrowed_again(engine):
    broken = engine.pool.borrow()
    with broken.driver_connection.cursor() as cursor:
        cursor.execute("BEGIN")
    with socket.socket(fileno=os.dup(broken.driver_connection.fileno())) as line:
        line.shutdown(socket.SHUT_RDWR)
    broken.close()

    following = engine.pool.borrow()
    following.close()
    assert following.driver_connection is not broken.driver_connection


def test_a_connection_whose_rollback_is_interrupted_is_not_borrowed_again(engine, monkeypatch):
    class Interrupted(BaseException):
        pass

    def interrupted(*_given):
        raise Interrupted

    cut = engine.pool.borrow()
    with monkeypatch.context() as patch:
        patch.setattr(engines, "reset", interrupted)
        with pytest.raises(Interrupted):
            cut.close()

    following = engine.pool.borrow()
    following.close()
    assert following.driver_connection is not cut.driver_connection


def test_a_failed_connection_uses_no_slot_of_the_pool(engine, monkeypatch):
    one = engine.pool.borrow()
    one.invalidate(OSError("gone"))
    one.close()  # its slot remains, without a connection

    def refused(*_args, **_options):
        raise psycopg.OperationalError("refused")

    with monkeypatch.context() as patch:
        patch.setattr(engine.pool, "_invoke_creator", refused)
        for _ in range(engine.pool.size() + 1):
            with pytest.raises(psycopg.OperationalError):
                engine.pool.borrow()
    assert engine.pool.checkedout() == 0

    borrowed = [engine.pool.borrow() for _ in range(engine.pool.size())]
    for connection in borrowed:
        connection.close()


def test_a_borrowed_connection_of_a_disposed_pool_is_not_borrowed_from_the_next_one(engine):
    borrowed = engine.pool.borrow()
    engine.dispose()
    borrowed.close()

    following = engine.pool.borrow()
    following.close()
    assert following.driver_connection is not borrowed.driver_connection
    borrowed.driver_connection.close()
