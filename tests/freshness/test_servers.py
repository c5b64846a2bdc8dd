"""The promises on the servers themselves: PostgreSQL with a replica that lags, and the cache Redis."""

import os
import signal
from contextlib import closing

import hypothesis.strategies as st
import psycopg
import pytest
from flask import Flask
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from campshub.app import create_app
from campshub.core.freshness.protocol import POSITION
from devstack.stack import Stack
from tests.conftest import close, migrate, settings_of
from tests.freshness.servers import OnServers
from tests.freshness.test_machine import PROFILE, READS_UNTIL
from tests.waiting import until

PROCESSES = st.sampled_from([0, 1])
WRITES_UNTIL = st.sampled_from(["over", "over", "begin", "commit", "end"])
FAULTS = st.sampled_from([(), ("crash",), ("empty",), ("cut",), ("crash", "empty"), ("empty", "cut")])
EXAMPLES, STEPS = 12, 25


@pytest.fixture
def servers(tmp_path_factory, monkeypatch):
    """Separate servers, since the test pauses the replica and empties Redis."""
    stack = Stack(tmp_path_factory.mktemp("servers"), replica=True, durable=False)
    apps: list[Flask] = []
    try:
        stack.start()
        migrate(settings_of(stack, stack.database))
        stack.pause_replay()
        apps += [create_app(settings_of(stack, stack.database, log_level="ERROR")) for _ in range(2)]
        yield OnServers(stack, apps, monkeypatch)
    finally:
        for app in apps:
            close(app)
        stack.resume_replay()
        stack.stop()


class Machine(RuleBasedStateMachine):
    """All possible steps."""

    servers: OnServers
    reads = 0

    @initialize(faults=FAULTS)
    def suffer(self, faults):
        """Draw the possible faults, which happen at most once each."""
        self.faults = list(faults)
        self.servers.reset()

    def teardown(self) -> None:
        for one in self.servers.going():
            self.servers.end(one)
        self.compare(0)
        self.compare(1)
        type(self).reads += sum(one.code is None for one in self.servers.sent)

    def going(self, process, *, writes):
        return next((o for o in self.servers.going() if o.process == process and (o.code is not None) == writes), None)

    @rule(process=PROCESSES, name=st.sampled_from("pq"), until=READS_UNTIL)
    def read(self, process, name, until):
        self.servers.go(self.going(process, writes=False) or self.servers.read(process, name), until)

    @rule(process=PROCESSES, until=WRITES_UNTIL)
    def write(self, process, until):
        self.servers.go(self.going(process, writes=True) or self.servers.write(process), until)

    @rule(process=PROCESSES, after_replay=st.booleans())
    def compare(self, process, after_replay=False):  # noqa: FBT002 - the teardown's own call
        """Read both responses from any possible source."""
        if after_replay:
            self.servers.catch_up()
        going = self.going(process, writes=False)
        if going is not None:
            self.servers.end(going)
        for name in "pq":
            self.servers.end(self.servers.read(process, name))

    @rule()
    def replay(self):
        self.servers.catch_up()

    @precondition(lambda self: self.servers.is_clean())
    @rule()
    def quarantine_ends(self):
        self.servers.end_quarantine()

    @precondition(lambda self: any(one.code and one.nonces for one in self.servers.sent if one.thread.is_over))
    @rule()
    def become_overdue(self):
        for one in self.servers.sent:
            if one.code and one.thread.is_over:
                self.servers.make_overdue(one)

    @precondition(lambda self: "crash" in self.faults and self.servers.going())
    @rule(data=st.data())
    def crash(self, data):
        self.faults.remove("crash")
        self.servers.crash(data.draw(st.sampled_from(self.servers.going())))

    @precondition(lambda self: "empty" in self.faults)
    @rule()
    def empty(self):
        self.faults.remove("empty")
        self.servers.client.flushall()

    @precondition(lambda self: "cut" in self.faults)
    @rule(process=PROCESSES)
    def cut(self, process):
        self.faults.remove("cut")
        self.servers.cut.add(process)


def test_both_promises_hold_on_the_servers_themselves(servers, record_property):
    before = servers.served()
    machine = type("OnTheServers", (Machine,), {"servers": servers})
    with closing(servers):
        run_state_machine_as_test(machine, settings=settings(PROFILE, max_examples=EXAMPLES, stateful_step_count=STEPS))

    served = {name: int(count - before[name]) for name, count in servers.served().items()}
    record_property("figure", f"freshness on the servers: {machine.reads} reads, from the database {served}")
    assert all(served.values()), "each server has served some"
    assert machine.reads > sum(served.values()), "and the caches have served some"


@pytest.fixture
def primary(tmp_path_factory):
    """A separate primary, of which a backend is killed."""
    stack = Stack(tmp_path_factory.mktemp("primary"))
    try:
        stack.start_data()
        migrate(settings_of(stack, stack.database))
        yield lambda: stack.primary.connect(stack.database)
    finally:
        stack.stop()


def test_no_position_that_a_stamp_may_have_is_used_again_after_a_backend_was_killed(primary):
    def position_and_server():
        with primary() as connection:
            return connection.execute(
                f"SELECT reported.*, reported.position - '0/0' FROM ({POSITION}) AS reported (position, server)"
            ).fetchone()

    def is_back():
        try:
            return bool(position_and_server())
        except psycopg.OperationalError:
            return False

    writer, other = primary(), primary()
    pid = other.info.backend_pid
    writer.autocommit = False
    writer.execute("CREATE TABLE unfinished AS SELECT repeat('x', 100) FROM generate_series(1, 5000)")
    before = position_and_server()
    os.kill(pid, signal.SIGKILL)
    until(lambda: not_alive(other))
    until(is_back)
    after = position_and_server()
    for connection in (writer, other):
        connection.close()

    assert after[1] == before[1], "it counts as the same server"
    assert after[2] >= before[2]


def not_alive(connection) -> bool:
    try:
        connection.execute("SELECT 1")
    except psycopg.OperationalError:
        return True
    return False
