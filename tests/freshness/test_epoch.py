"""The epoch and the lease on the real primary, and the commands that change which identities are trusted."""

import os
import signal
import threading
import time

import pytest

from campshub.core.cache import purge
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.freshness import epoch
from campshub.core.freshness.lease import LEASE_S
from campshub.core.security.permissions import Role
from tests.conftest import new_tenant
from tests.waiting import until

WRITERS, ROWS = 4, 10
_LEASES = "SELECT pid FROM pg_stat_activity WHERE application_name = 'campshub lease' AND datname = %s"


@pytest.fixture
def app(scratch_app):
    return scratch_app


@pytest.fixture
def lease(app):
    return app.extensions["campshub"].lease


@pytest.fixture
def backend(stack, scratch, lease):
    """Return the process id of the primary's backend that serves the lease."""
    lease.wait()
    ((pid,),) = stack.primary.query(_LEASES, scratch)
    return pid


def epoch_now(stack, scratch) -> int:
    with stack.primary.connect(scratch) as connection:
        return connection.execute("SELECT freshness_epoch()").fetchone()[0]


def test_a_stopped_lease_has_ended_its_threads(lease):
    lease.wait()
    watches = lease._watches
    assert not any(watch.has_ended for watch in watches)

    lease.stop()
    assert all(watch.has_ended for watch in watches)


def test_a_lease_does_not_outlast_a_sleep_of_the_machine(lease, monkeypatch):
    granted, read = lease.wait(), time.clock_gettime
    assert granted.is_valid()

    slept_s = {time.CLOCK_BOOTTIME: 3_600.0}  # CLOCK_MONOTONIC stops during the sleep
    monkeypatch.setattr(time, "clock_gettime", lambda which: read(which) + slept_s.get(which, 0.0))
    assert not granted.is_valid()


def test_a_lease_recovers_after_its_connection_was_lost(stack, lease, backend):
    known = lease.wait()
    stack.primary.query("SELECT pg_terminate_backend(%s)", backend)
    until(lambda: (last := lease.last()) is not None and last.sent_at > known.sent_at + LEASE_S)

    assert lease.wait().primary == known.primary
    assert not lease.primary_is_unavailable()


def test_the_lease_expires_when_the_primary_hangs(lease, backend):
    os.kill(backend, signal.SIGSTOP)
    try:
        until(lambda: lease.granted() is None)
        assert not lease.last().is_valid()
        until(lease.primary_is_unavailable)
    finally:
        os.kill(backend, signal.SIGCONT)
    assert lease.wait().is_valid()


def test_folding_changes_no_epoch_despite_concurrent_writes(app, stack, scratch):
    def write():
        with app.app_context():
            for _ in range(ROWS):
                with unit_of_work(system=True) as session:
                    session.execute(epoch.ADD)

    def look():
        while not is_over.is_set():
            seen.append(epoch_now(stack, scratch))

    with app.app_context(), unit_of_work(system=True) as session:
        epoch.fold(session)  # the rows of the migrations
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
    assert seen == sorted(seen), "it never decreases"


def test_a_new_epoch_and_a_fold_are_commands(app, stack, scratch):
    run = app.test_cli_runner().invoke
    assert run(args=["cache", "fold"]).exit_code == 0  # the rows of the migrations
    before = epoch_now(stack, scratch)

    assert run(args=["cache", "new-epoch"]).exit_code == 0
    assert epoch_now(stack, scratch) == before + 1
    assert '"folded":1' in run(args=["cache", "fold", "--json"]).output
    assert "Folded 0 rows" in run(args=["cache", "fold"]).output
    assert epoch_now(stack, scratch) == before + 1


def test_a_cleared_cache_starts_in_quarantine(app, lease):
    api, cache = new_tenant(app).the(Role.ADMIN), app.extensions["campshub"].cache.client
    name = f"identity:{lease.wait().primary}"
    url = "/api/students/"
    assert api.get(url).statements, "a new identity"
    run_id, space, _ = cache.get(name).split(b":")
    cache.set(name, b":".join((run_id, space, b"%d" % (1000 * (time.time() - 60)))))
    api.get(url)
    assert not api.get(url).statements, "it is cached"

    assert app.test_cli_runner().invoke(args=["cache", "clear", "--yes"]).exit_code == 0
    assert api.get(url).statements
    assert api.get(url).statements
    assert cache.get(name).split(b":")[1] != space


@pytest.fixture
def former(app, lease):
    """Return an organization's admin, who has written under a former identity and under the current one."""
    api, cache = new_tenant(app).the(Role.ADMIN), app.extensions["campshub"].cache.client
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


def test_a_sweep_drops_only_the_stamps_of_former_identities(app, lease, former):
    api, cache, gone = former
    left, current = stamps(cache, gone), stamps(cache, present(cache, lease))
    assert left
    assert current

    swept = app.test_cli_runner().invoke(args=["cache", "sweep", "--json"])
    assert swept.exit_code == 0
    assert stamps(cache, gone) == set()
    assert stamps(cache, present(cache, lease)) == current
    assert {group["name"] for group in api.get("/api/groups/").json["items"]} == {"Before", "Since"}
    assert "Deleted 0 keys" in app.test_cli_runner().invoke(args=["cache", "sweep"]).output


def test_an_identity_that_starts_during_a_sweep_keeps_its_stamps(app, lease, former, monkeypatch):
    """A sweep must read the stamps first: then stamps of a new identity are not taken for those of a former one."""
    api, cache, _ = former
    read, begun = purge._keys, []

    def names(client):
        if not begun:
            app.extensions["campshub"].freshness.forget()
            begun.append(api.made("/api/groups/", {"code": "C", "name": "Meanwhile"}))
        yield from read(client)

    monkeypatch.setattr(purge, "_keys", names)
    purge.purge_former_identities(app.extensions["campshub"].settings.redis_urls[0])

    assert stamps(cache, present(cache, lease))


def test_an_unavailable_redis_is_reported_in_one_line(app, monkeypatch):
    def unavailable(_url):
        raise purge.CacheUnavailable

    monkeypatch.setattr(purge, "purge_former_identities", unavailable)
    result = app.test_cli_runner().invoke(args=["cache", "sweep"])
    assert (result.exit_code, result.output.count("\n")) == (1, 1)
    assert "does not respond" in result.output
