"""The protocol's steps in any order, over the real code: whatever happens, both promises hold.

Each request stops before each of its steps; between any two of them others go on, processes crash and are cut off,
leases run out, the replica replays or is promoted, and Redis is emptied or put back. ``MACHINE_EXAMPLES`` makes the
search longer. That it can see: ``test_the_machine_sees_a_rule_that_is_missing``.
"""

import os

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from tests.freshness.test_rules import without
from tests.freshness.world import Broken, Request, World

EXAMPLES = int(os.environ.get("MACHINE_EXAMPLES", "150"))
STEPS = 60
MOST_WRITES = 5
READERS = st.sampled_from([0, 1])
PROCESSES = st.sampled_from([0, 1, 2])
CALLS = ("ask", "begin", "end", "repair")
PROFILE = settings(
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=EXAMPLES,
    stateful_step_count=STEPS,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)


class Machine(RuleBasedStateMachine):
    """Whatever may happen next."""

    world: World
    # How many steps there were, of requests and around them, for the terminal's summary.
    steps = 0
    reads = 0
    acknowledged = 0

    def __init__(self) -> None:
        super().__init__()
        self.rule = getattr(type(self), "missing", None)
        self.world.close()
        self.world.begin_anew(lua=type(self).lua)
        self.world.servers.tells_timeline = type(self).tells_timeline
        self.world.settle(0)
        self.world.settle(1)
        self.restarts = self.crashes = self.promotions = self.cuts = 1

    lua: dict[str, tuple[str, str]] | None = None
    tells_timeline = True

    def teardown(self) -> None:
        for request in self.going():
            self.world.end(request)
        for request in self.world.requests:
            type(self).steps += len(request.walk.passed)
            type(self).reads += not request.write
        type(self).acknowledged += len(self.world.shown)

    def going(self, *, writes: bool | None = None) -> list[Request]:
        """Return the requests that are on their way."""
        return [r for r in self.world.requests if not r.is_over and writes in (None, bool(r.write))]

    def drawn(self, data: st.DataObject, requests: list[Request]) -> Request:
        return requests[data.draw(st.integers(0, len(requests) - 1))]

    # Requests --------------------------------------------------------------------------------------------------------

    @rule(process=READERS, name=st.sampled_from("pq"), replica=st.booleans())
    def read(self, process, name, replica):
        if not any(r.process is self.world.processes[process] for r in self.going(writes=False)):
            self.world.read(process, name, replica=replica)

    @rule(process=READERS, name=st.sampled_from("pq"), replica=st.booleans())
    def read_to_the_end(self, process, name, replica):
        if not any(r.process is self.world.processes[process] for r in self.going(writes=False)):
            self.world.end(self.world.read(process, name, replica=replica))

    @rule(process=PROCESSES)
    def write(self, process):
        writes = sum(bool(r.write) for r in self.world.requests)
        if writes < MOST_WRITES and not any(
            r.process is self.world.processes[process] for r in self.going(writes=True)
        ):
            self.world.write(writes + 1, process)

    @precondition(lambda self: self.going())
    @rule(data=st.data(), steps=st.integers(1, 3))
    def go(self, data, steps):
        request = self.drawn(data, self.going())
        for _ in range(steps):
            if not request.is_over:
                self.world.go(request)

    @precondition(lambda self: self.going(writes=True))
    @rule(data=st.data())
    def finish(self, data):
        self.world.end(self.drawn(data, self.going(writes=True)))

    @precondition(lambda self: self.crashes and self.going())
    @rule(data=st.data())
    def crash(self, data):
        self.crashes -= 1
        self.world.crash(self.drawn(data, self.going()))

    @precondition(lambda self: any(r.walk.at in CALLS for r in self.going()))
    @rule(data=st.data())
    def lose_an_answer(self, data):
        request = self.drawn(data, [r for r in self.going() if r.walk.at in CALLS])
        request.walk.loses_answer = True
        self.world.go(request)

    # Surroundings ----------------------------------------------------------------------------------------------------

    @rule(process=READERS)
    def renew(self, process):
        self.world.renew(process)

    @rule(process=READERS)
    def run_out(self, process):
        self.world.run_out(process)

    @rule()
    def replay(self):
        self.world.replay()

    @precondition(lambda self: any(r.write and r.is_over and r.nonces for r in self.world.requests))
    @rule(data=st.data())
    def become_overdue(self, data):
        over = [r for r in self.world.requests if r.write and r.is_over and r.nonces]
        self.world.make_overdue(self.drawn(data, over))

    @rule()
    def ten_seconds(self):
        self.world.ten_seconds()

    @precondition(lambda self: self.world.may_trust)
    @rule()
    def quarantine_ends(self):
        self.world.trusts()

    @precondition(lambda self: self.restarts)
    @rule()
    def take_copy(self):
        self.world.take_copy()

    @precondition(lambda self: self.restarts)
    @rule(is_noticed=st.booleans(), is_old_copy=st.booleans())
    def restart(self, is_noticed, is_old_copy):
        self.restarts -= 1
        self.world.restart(self.world.copy if is_old_copy else None, is_noticed=is_noticed)

    @precondition(lambda self: self.restarts)
    @rule()
    def empty(self):
        self.restarts -= 1
        self.world.empty()

    @precondition(lambda self: self.cuts)
    @rule(process=PROCESSES)
    def cut(self, process):
        self.cuts -= 1
        self.world.cut(process)

    @precondition(lambda self: not self.cuts)
    @rule(process=PROCESSES)
    def heal(self, process):
        self.world.heal(process)

    @precondition(lambda self: self.promotions)
    @rule()
    def promote(self):
        self.promotions -= 1
        self.world.promote()


def test_whatever_happens_both_promises_hold(world, record_property):
    machine = type("Promises", (Machine,), {"world": world})
    run_state_machine_as_test(machine, settings=PROFILE)

    record_property(
        "figure", f"freshness: {machine.steps} steps, {machine.reads} reads, {machine.acknowledged} writes shown"
    )
    assert machine.reads > EXAMPLES
    assert machine.acknowledged > EXAMPLES // 2
