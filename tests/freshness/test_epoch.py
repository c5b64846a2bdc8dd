"""The epoch and the lease on the real primary, and the commands by which an operator changes what is trusted."""

import os
import signal
import threading
import time

import pytest

from campshub.app import create_app
from campshub.core.cache import purge
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.freshness import epoch
from campshub.core.freshness.lease import HOLDS_S
from campshub.core.security.permissions import Role
from tests.conftest import close, new_place, settings_of
from tests.freshness.servers import until

WRITERS, ROWS = 4, 10
_LEASES = "SELECT pid FROM pg_stat_activity WHERE application_name = 'campshub lease' AND datname = %s"


@pytest.fixture
def app(stack, scratch):
    """A process with a database, and so an identity, of its own."""
    app = create_app(settings_of(stack, scratch, log_level="ERROR"))
    yield app
    close(app)


@pytest.fixture
def lease(app):
    return app.extensions["campshub"].lease


@pytest.fixture
def backend(stack, scratch, lease):
    """Return the one backend of the primary that answers the lease."""
    lease.wait()
    ((pid,),) = stack.primary.query(_LEASES, scratch)
    return pid


def epoch_now(stack, scratch) -> int:
    with stack.primary.connect(scratch) as connection:
        return connection.execute("SELECT freshness_epoch()").fetchone()[0]


def test_a_lease_ends_with_its_threads(lease):
    lease.wait()
    watches = lease._watches
    assert not any(watch.has_ended for watch in watches)

    lease.stop()
    assert all(watch.has_ended for watch in watches)


def test_a_lease_does_not_outlast_a_sleep_of_the_machine(lease, monkeypatch):
    granted, read = lease.wait(), time.clock_gettime
    assert granted.holds()

    slept_s = {time.CLOCK_BOOTTIME: 3_600.0}  # the usual clock has stood still
    monkeypatch.setattr(time, "clock_gettime", lambda which: read(which) + slept_s.get(which, 0.0))
    assert not granted.holds()


def test_a_lease_comes_back_when_its_connection_was_lost(stack, lease, backend):
    known = lease.wait()
    stack.primary.query("SELECT pg_terminate_backend(%s)", backend)
    until(lambda: (last := lease.last()) is not None and last.sent_at > known.sent_at + HOLDS_S)

    assert lease.wait().primary == known.primary
    assert not lease.primary_is_away()


def test_a_primary_that_hangs_lets_the_lease_run_out(lease, backend):
    os.kill(backend, signal.SIGSTOP)
    try:
        until(lambda: lease.granted() is None)
        assert not lease.last().holds()
        until(lease.primary_is_away)
    finally:
        os.kill(backend, signal.SIGCONT)
    assert lease.wait().holds()


def test_folding_changes_no_epoch_however_many_write_meanwhile(app, stack, scratch):
    def write():
        with app.app_context():
            for _ in range(ROWS):
                with unit_of_work(system=True) as session:
                    session.execute(epoch.ADD)

    def look():
        while not is_over.is_set():
            seen.append(epoch_now(stack, scratch))

    with app.app_context(), unit_of_work(system=True) as session:
        epoch.fold(session)  # what migrations have written
    before, seen, is_over = epoch_now(stack, scratch), [], threading.Event()
    writers = [threading.Thread(target=write) for _ in range(WRITERS)]
    onlooker = threading.Thread(target=look)
    for one in (onlooker, *writers):
        one.start()
    folded = 0
    with app.app_context():
        while any(one.is_alive() for one in writers):
            with unit_of_work(system=True) as session:
                folded += epoch.fold(session)[0]
        with unit_of_work(system=True) as session:
            folded += epoch.fold(session)[0]
    is_over.set()
    onlooker.join()

    assert folded == WRITERS * ROWS
    assert epoch_now(stack, scratch) == before + WRITERS * ROWS
    assert seen == sorted(seen), "it never runs back"


def test_a_new_epoch_and_the_fold_are_commands(app, stack, scratch):
    run = app.test_cli_runner().invoke
    assert run(args=["cache", "fold"]).exit_code == 0  # what migrations have written
    before = epoch_now(stack, scratch)

    assert run(args=["cache", "new-epoch"]).exit_code == 0
    assert epoch_now(stack, scratch) == before + 1
    assert '"folded":1' in run(args=["cache", "fold", "--json"]).output
    assert "Folded 0 rows" in run(args=["cache", "fold"]).output
    assert epoch_now(stack, scratch) == before + 1


def test_what_is_cleared_begins_in_quarantine(app, lease):
    api, cache = new_place(app).the(Role.ADMIN), app.extensions["campshub"].cache.client
    name = f"identity:{lease.wait().primary}"
    address = "/api/students/"
    assert api.get(address).statements, "a new identity"
    run_id, space, _ = cache.get(name).split(b":")
    cache.set(name, b":".join((run_id, space, b"%d" % (1000 * (time.time() - 60)))))
    api.get(address)
    assert not api.get(address).statements, "it is kept"

    assert app.test_cli_runner().invoke(args=["cache", "clear", "--yes"]).exit_code == 0
    assert api.get(address).statements
    assert api.get(address).statements
    assert cache.get(name).split(b":")[1] != space


@pytest.fixture
def former(app, lease):
    """Return an organization's admin, who has written under an identity that has gone and under the present one."""
    api, cache = new_place(app).the(Role.ADMIN), app.extensions["campshub"].cache.client
    groups = [api.made("/api/groups/", {"code": "A", "name": "Before"})]
    gone = cache.get(f"identity:{lease.wait().primary}").split(b":")[1].decode()
    app.extensions["campshub"].freshness.forget()
    groups.append(api.made("/api/groups/", {"code": "B", "name": "Since"}))
    api.get("/api/groups/")
    return api, cache, gone


def stamps(cache, space) -> set[bytes]:
    return set(cache.scan_iter(match=f"stamp:{space}:*")) | set(cache.scan_iter(match=f"pending:{space}:*"))


def present(cache, lease) -> str:
    return cache.get(f"identity:{lease.wait().primary}").split(b":")[1].decode()


def test_what_former_identities_have_left_is_dropped_and_nothing_else(app, lease, former):
    api, cache, gone = former
    left, kept = stamps(cache, gone), stamps(cache, present(cache, lease))
    assert left
    assert kept

    swept = app.test_cli_runner().invoke(args=["cache", "sweep", "--json"])
    assert swept.exit_code == 0
    assert stamps(cache, gone) == set()
    assert stamps(cache, present(cache, lease)) == kept
    assert {group["name"] for group in api.get("/api/groups/").json["items"]} == {"Before", "Since"}
    assert "Dropped 0 names" in app.test_cli_runner().invoke(args=["cache", "sweep"]).output


def test_an_identity_that_begins_while_former_ones_are_swept_keeps_its_stamps(app, lease, former, monkeypatch):
    """The first thing that is read must be the names: what has come after them is then known to be somebody's."""
    api, cache, _ = former
    read, begun = purge._names, []

    def names(client):
        if not begun:
            app.extensions["campshub"].freshness.forget()
            begun.append(api.made("/api/groups/", {"code": "C", "name": "Meanwhile"}))
        yield from read(client)

    monkeypatch.setattr(purge, "_names", names)
    purge.sweep(app.extensions["campshub"].settings.redis_urls[0])

    assert stamps(cache, present(cache, lease))


def test_a_redis_that_is_away_is_told_in_one_line(app, monkeypatch):
    def away(_url):
        raise purge.CacheAway

    monkeypatch.setattr(purge, "sweep", away)
    told = app.test_cli_runner().invoke(args=["cache", "sweep"])
    assert (told.exit_code, told.output.count("\n")) == (1, 1)
    assert "does not answer" in told.output
