"""The protocol's steps in any order, over the real code: both promises hold in every sequence.

Each request pauses before each of its steps. Between any two of them other requests continue, processes crash and are
cut off, leases expire, the replica replays or is promoted, and Redis is emptied or restored. ``MACHINE_EXAMPLES``
lengthens the search. Without a rule of the protocol, the same search finds a broken promise.
"""

import os

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from campshub.core.cache.values import RequestValues
from tests.freshness.processes import ACCESS, TAG, Request
from tests.freshness.test_rules import LUA, SCENARIOS, switch, without
from tests.freshness.world import Broken, World

EXAMPLES = int(os.environ.get("MACHINE_EXAMPLES", "250"))
# Without a rule, a search of this length breaks a promise, for some rules early. Only the scenario of repair-names is
# too long to be found by chance.
UNTIL_FOUND = 8000
FOUND = sorted(SCENARIOS.keys() - {"repair-names"})
FOUND_SOON = ("end", "lsn-after-commit", "floor-has-no-epoch", "replica-check", "unstamped-row")
STEPS = 30
MOST_WRITES = 4
# Responses without a memoized value, and others that share one.
NAMES = "pqmn"
READERS = st.sampled_from([0, 1])
PROCESSES = st.sampled_from([0, 1, 2])
CALLS = ("ask", "begin", "end", "repair")
# The step before which a request pauses; a request that does not reach it continues to its end.
READS_UNTIL = st.sampled_from(["over", "over", "ask", "position", "repair", "enter", "read", "store"])
WRITES_UNTIL = st.sampled_from(["over", "over", "begin", "commit", "visible", "committed", "lsn", "end", "wait"])
# The faults that may happen in one world: with all of them, readers seldom get past the primary.
QUIET: tuple[str, ...] = ()
FAULTS = (
    QUIET,
    ("crash",),
    ("cut",),
    ("restart",),
    ("promotion",),
    ("primary crash",),
    ("lost answer",),
    ("ten seconds",),
    ("cut", "crash"),
    ("restart", "crash"),
    ("restart", "cut"),
    ("promotion", "crash"),
    ("promotion", "cut"),
    ("ten seconds", "restart"),
    ("lost answer", "crash"),
    ("lost answer", "cut", "restart", "crash", "promotion", "primary crash", "ten seconds"),
)
# The faults without which a missing rule has no effect; by default none.
NEEDED_WITH = {
    "epoch-in-key": ("cut",),
    "wait": ("cut",),
    "unstamped-row": ("cut",),
    "floor-has-no-epoch": ("cut",),
    "identity-in-key": ("restart", "crash"),
    "quarantine": ("restart",),
    "timeline-in-identity": ("promotion",),
    "flushed-position": ("primary crash",),
    "repair": ("crash",),
    "repair-names": ("crash",),
}
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
    """All possible steps."""

    world: World
    missing = ""
    worlds = FAULTS
    # The number of steps of requests and others, for the terminal's summary.
    steps = 0
    reads = 0
    acknowledged = 0

    def __init__(self) -> None:
        super().__init__()
        self.world.close()
        self.world.reset(lua=LUA.get(self.missing))
        switch(self.world, self.missing)
        self.world.settle(0, 1)
        self.faults: list[str] = []
        self.has_suffered = False

    @initialize(data=st.data())
    def suffer(self, data):
        """Draw the possible faults, and how far the first read goes, which finds no stamps yet."""
        self.faults = list(data.draw(st.sampled_from(self.worlds)))
        self.go_on(self.world.read(0, replica=False), data.draw(READS_UNTIL))

    def teardown(self) -> None:
        for request in self.going():
            self.world.end(request)
        self.compare(0)
        self.compare(1)
        for request in self.world.requests:
            type(self).steps += len(request.thread.passed)
            type(self).reads += not request.write
        type(self).acknowledged += len(self.world.shown)

    def going(self, process: int | None = None, *, writes: bool | None = None) -> list[Request]:
        """Return the requests in progress."""
        there = self.world.requests if process is None else self.of(process)
        return [r for r in there if not r.is_over and writes in (None, bool(r.write))]

    def of(self, process: int) -> list[Request]:
        return [r for r in self.world.requests if r.process is self.world.processes[process]]

    def drawn(self, data: st.DataObject, requests: list[Request]) -> Request:
        return requests[data.draw(st.integers(0, len(requests) - 1))]

    def go_on(self, request: Request, until: str) -> None:
        """Let a request take at least one step, and continue to a pause point."""
        if not request.is_over:
            self.world.go(request)
        while not request.is_over and request.thread.at != until:
            self.world.go(request)

    def happens(self, fault: str) -> None:
        self.faults.remove(fault)
        self.has_suffered = True

    # Requests --------------------------------------------------------------------------------------------------------

    @rule(process=READERS, name=st.sampled_from(NAMES), replica=st.booleans(), until=READS_UNTIL)
    def read(self, process, name, replica, until):
        going = self.going(process, writes=False)
        self.go_on(going[0] if going else self.world.read(process, name, replica=replica), until)

    @rule(process=PROCESSES, tag=st.sampled_from([TAG, TAG, ACCESS]), until=WRITES_UNTIL)
    def write(self, process, tag, until):
        going = self.going(process, writes=True)
        number = 1 + sum(bool(r.write) for r in self.world.requests)
        if going:
            self.go_on(going[0], until)
        elif number <= MOST_WRITES and (tag == TAG or len(self.world.servers.to_role) < 2):
            self.go_on(self.world.write(number, process, tag), until)

    @precondition(lambda self: self.going())
    @rule(data=st.data())
    def step(self, data):
        self.world.go(self.drawn(data, self.going()))

    @rule(process=READERS)
    def compare(self, process):
        """Read all responses from any possible source."""
        for request in self.going(process, writes=False):
            self.world.end(request)
        for name in NAMES:
            self.world.end(self.world.read(process, name))

    # Surroundings ----------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.world.lapsed())
    @rule(data=st.data())
    def renew(self, data):
        self.world.renew(data.draw(st.sampled_from(self.world.lapsed())))

    @precondition(lambda self: self.world.servers.replayed < self.world.servers.flushed)
    @rule()
    def replay(self):
        self.world.replay()

    @precondition(lambda self: any(r.write and r.is_over and r.nonces for r in self.world.requests))
    @rule(data=st.data())
    def become_overdue(self, data):
        over = [r for r in self.world.requests if r.write and r.is_over and r.nonces]
        self.world.make_overdue(self.drawn(data, over))

    @precondition(lambda self: self.has_suffered and self.world.may_trust)
    @rule()
    def quarantine_ends(self):
        self.world.end_quarantine()

    # Faults ----------------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.faults)
    @rule(process=READERS)
    def run_out(self, process):
        self.world.run_out(process)

    @precondition(lambda self: "ten seconds" in self.faults)
    @rule()
    def ten_seconds(self):
        self.happens("ten seconds")
        self.world.ten_seconds()

    @precondition(lambda self: "crash" in self.faults and self.going())
    @rule(data=st.data(), is_overdue=st.booleans())
    def crash(self, data, is_overdue):
        self.happens("crash")
        request = self.drawn(data, self.going(writes=True) or self.going())
        self.world.crash(request)
        if is_overdue:
            self.world.make_overdue(request)

    @precondition(lambda self: "lost answer" in self.faults and any(r.thread.at in CALLS for r in self.going()))
    @rule(data=st.data())
    def lose_an_answer(self, data):
        self.happens("lost answer")
        request = self.drawn(data, [r for r in self.going() if r.thread.at in CALLS])
        request.thread.loses_answer = True
        self.world.go(request)

    @precondition(lambda self: "restart" in self.faults)
    @rule()
    def take_copy(self):
        self.world.take_copy()

    @precondition(lambda self: "restart" in self.faults)
    @rule(is_noticed=st.booleans(), is_old_copy=st.booleans())
    def restart(self, is_noticed, is_old_copy):
        self.happens("restart")
        self.world.restart(self.world.copy if is_old_copy else None, is_noticed=is_noticed)

    @precondition(lambda self: "restart" in self.faults)
    @rule()
    def empty(self):
        self.happens("restart")
        self.world.empty()

    @precondition(lambda self: "cut" in self.faults)
    @rule(process=PROCESSES)
    def cut(self, process):
        self.happens("cut")
        self.world.cut(process)

    @precondition(lambda self: self.world.is_cut())
    @rule()
    def heal(self):
        self.world.heal()

    @precondition(lambda self: "promotion" in self.faults)
    @rule()
    def promote(self):
        self.happens("promotion")
        self.world.promote()

    @precondition(lambda self: "primary crash" in self.faults)
    @rule()
    def insert(self):
        self.world.servers.insert()

    @precondition(lambda self: "primary crash" in self.faults)
    @rule()
    def crash_primary(self):
        self.happens("primary crash")
        self.world.servers.crash()


def test_both_promises_hold_in_every_sequence(world, record_property):
    machine = type("Promises", (Machine,), {"world": world})
    run_state_machine_as_test(machine, settings=PROFILE)

    record_property(
        "figure", f"freshness: {machine.steps} steps, {machine.reads} reads, {machine.acknowledged} writes shown"
    )
    assert machine.reads > EXAMPLES
    assert machine.acknowledged > EXAMPLES // 2


@pytest.mark.parametrize("missing", FOUND if "MACHINE_EXAMPLES" in os.environ else FOUND_SOON)
def test_the_machine_detects_a_missing_rule(world, monkeypatch, missing):
    without(world, monkeypatch, missing)
    machine = type(
        "Promises", (Machine,), {"world": world, "missing": missing, "worlds": [NEEDED_WITH.get(missing, QUIET)]}
    )

    with pytest.raises(Broken):
        run_state_machine_as_test(
            machine, settings=settings(PROFILE, phases=[Phase.generate], max_examples=UNTIL_FOUND)
        )


def test_the_machine_detects_a_memoized_value_without_stamps(world, monkeypatch):
    key = RequestValues.key
    monkeypatch.setattr(RequestValues, "key", lambda *given: f"{key(*given).partition('|')[0]}|")
    machine = type("Promises", (Machine,), {"world": world, "worlds": [QUIET]})

    with pytest.raises(Broken):
        run_state_machine_as_test(
            machine, settings=settings(PROFILE, phases=[Phase.generate], max_examples=UNTIL_FOUND)
        )
