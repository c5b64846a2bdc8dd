"""The parts that the protocol stands on, each on the real server: the line, the wire, memory, several Redis."""

import os
import threading

import pytest

from campshub.core.cache.memory import CachedResponse, ResponseMemory
from campshub.core.cache.store import ResponseCache
from campshub.core.circuit_breaker import CircuitBreaker
from campshub.core.db.models import PLATFORM_ID, new_id
from campshub.core.freshness.protocol import SCRIPTS, Freshness, LookupRequest
from campshub.core.http.rate_limits.per_caller import CallerLimits
from campshub.core.redis.batching import Interrupted, RequestBatcher
from campshub.core.redis.connection import CacheUnavailable
from campshub.core.redis.pipeline import PipelinedRedis, Script
from tests.freshness.gates import Crash
from tests.freshness.postgres_side import HeldLease, Servers
from tests.freshness.servers import until

PATIENCE_S = 20


class Counter:
    """A counter that a line stands before; the first trip waits for leave to end."""

    def __init__(self, failure=None):
        self.trips, self.failure = [], failure
        self.is_under_way, self.may_end = threading.Event(), threading.Event()
        self.line = RequestBatcher(self.serve)
        self.told, self.refused = {}, {}

    def serve(self, errands):
        self.trips.append([errand.what for errand in errands])
        if len(self.trips) == 1:
            self.is_under_way.set()
            assert self.may_end.wait(PATIENCE_S)
            if self.failure is not None:
                raise self.failure
        for errand in errands:
            errand.answer = errand.what.upper()

    def come(self, what):
        def ask():
            try:
                self.told[what] = self.line.ask(what)
            except BaseException as error:  # noqa: BLE001 - looked at
                self.refused[what] = error

        caller = threading.Thread(target=ask)
        caller.start()
        return caller

    def come_all(self):
        """Let one come, and three more while the first is on the way."""
        callers = [self.come("a")]
        assert self.is_under_way.wait(PATIENCE_S)
        callers += [self.come(what) for what in "bcd"]
        until(lambda: len(self.line._waiting) == 3)
        self.may_end.set()
        for caller in callers:
            caller.join(PATIENCE_S)


def test_whoever_comes_during_a_trip_goes_with_the_next_and_all_of_them_together():
    counter = Counter()
    counter.come_all()

    assert [sorted(trip) for trip in counter.trips] == [["a"], ["b", "c", "d"]]
    assert counter.told == {"a": "A", "b": "B", "c": "C", "d": "D"}


@pytest.mark.parametrize("failure", [Crash(), ValueError("no")], ids=["stopped", "failed"])
def test_a_trip_that_fails_leaves_nobody_waiting(failure):
    counter = Counter(failure)
    counter.come_all()

    assert list(counter.refused) == ["a"]
    assert counter.told == {"b": "B", "c": "C", "d": "D"}
    assert counter.line.ask("e") == "E"


def test_those_who_went_with_one_who_was_stopped_are_told():
    def serve(errands):
        trips.append(errands)
        if len(trips) == 1:
            assert may_go.wait(PATIENCE_S)
        elif len(trips) == 2:
            raise Crash

    trips, refused, may_go = [], [], threading.Event()
    line = RequestBatcher(serve)

    def ask():
        try:
            line.ask()
        except (Crash, Interrupted) as error:
            refused.append(type(error))

    callers = [threading.Thread(target=ask) for _ in range(4)]
    for caller in callers:
        caller.start()
    until(lambda: len(line._waiting) == 3)
    may_go.set()
    for caller in callers:
        caller.join(PATIENCE_S)

    assert sorted(error.__name__ for error in refused) == ["Crash", "Interrupted", "Interrupted"]


def test_a_forked_process_begins_with_nobody_in_line():
    counter = Counter()
    caller = counter.come("a")
    assert counter.is_under_way.wait(PATIENCE_S)

    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if counter.line.ask("z") == "Z" else 1)
        finally:
            os._exit(2)
    _, status = os.waitpid(child, 0)
    counter.may_end.set()
    caller.join(PATIENCE_S)

    assert os.waitstatus_to_exitcode(status) == 0
    assert counter.told == {"a": "A"}


# The wire ------------------------------------------------------------------------------------------------------------


BEGIN = Script(SCRIPTS, "begin")


@pytest.fixture
def wire(cache_server):
    wire = PipelinedRedis(cache_server.join("wire"), (BEGIN,))
    cache_server.client.flushall()
    yield wire
    wire.close()


def begun(wire, nonce="ab") -> bytes:
    return wire.run(BEGIN, nonce, "primary", 10_000, "o:students")


def asked(cache_server) -> int:
    told = cache_server.client.info("commandstats")
    return told.get("cmdstat_evalsha", {"calls": 0})["calls"]


def test_a_script_that_the_server_has_forgotten_is_told_again(wire, cache_server):
    space = begun(wire)
    cache_server.client.script_flush()

    assert begun(wire, "cd") == space
    assert cache_server.client.zcard(f"pending:{space.decode()}:o:students") == 2


def test_a_server_that_has_started_anew_is_another_one(wire, cache_server):
    space = begun(wire)
    cache_server.restart(cache_server.copy())
    with pytest.raises(CacheUnavailable):
        begun(wire)
    wire.breaker = CircuitBreaker(0.0)

    assert begun(wire, "cd") != space


def test_a_server_that_hangs_is_left_alone_and_its_late_answers_are_nobodys(wire, cache_server):
    space = begun(wire)
    cache_server.hang()
    try:
        with pytest.raises(CacheUnavailable):
            begun(wire, "cd")
    finally:
        cache_server.go_on()
    before = asked(cache_server)
    with pytest.raises(CacheUnavailable):
        begun(wire, "ef")
    assert asked(cache_server) == before

    wire.breaker = CircuitBreaker(0.0)
    assert wire.send(b"GET", "identity:primary").split(b":")[1] == space


# What a process keeps ------------------------------------------------------------------------------------------------


def kept(size: int) -> CachedResponse:
    return CachedResponse(b"key", b"x" * size, "", None)


def test_memory_keeps_no_more_than_it_may_and_gives_up_what_was_used_longest_ago():
    memory = ResponseMemory(10_000)
    for place in range(100):
        memory.put(place, kept(1000), 60)
        assert memory.get(0) is not None
        assert memory.bytes <= 10_000
    assert len(memory) == 6
    assert memory.get(1) is None

    memory.put(99, kept(20_000), 60)
    assert memory.get(99) is None
    memory.clear()
    assert memory.bytes == len(memory) == 0


def test_a_hundred_who_miss_the_same_make_it_once():
    answers, made, found, may_land = ResponseCache(10_000), [], [], threading.Event()

    def ask():
        with answers.flight(b"key") as (flight, leads):
            if leads:
                until(lambda: len(waiting) == 100)
                assert may_land.wait(PATIENCE_S)
                made.append(1)
                flight.found = "answer"
            found.append(flight.found)

    waiting = [threading.Thread(target=ask) for _ in range(100)]
    for one in waiting:
        one.start()
    until(lambda: len(answers._flights) == 1)
    may_land.set()
    for one in waiting:
        one.join(PATIENCE_S)

    assert found == ["answer"] * 100
    assert len(made) == 1
    assert not answers._flights


def test_one_who_fails_to_make_an_answer_strands_nobody():
    answers, found, leads_now, may_fail = ResponseCache(10_000), [], threading.Event(), threading.Event()

    def fail():
        with pytest.raises(ValueError, match="no"), answers.flight(b"key"):
            leads_now.set()
            assert may_fail.wait(PATIENCE_S)
            raise ValueError("no")

    def follow():
        with answers.flight(b"key") as (flight, _leads):
            found.append(flight.found)

    leader = threading.Thread(target=fail)
    leader.start()
    assert leads_now.wait(PATIENCE_S)
    followers = [threading.Thread(target=follow) for _ in range(5)]
    for one in followers:
        one.start()
    may_fail.set()
    for one in [leader, *followers]:
        one.join(PATIENCE_S)

    assert found == [None] * 5


# Several Redis -------------------------------------------------------------------------------------------------------


@pytest.fixture
def several(cache_server):
    """Freshness over three databases of one Redis, which pass for three servers."""
    address = cache_server.join("several")
    cache_server.client.flushall()
    lease = HeldLease(Servers())
    lease.renew()
    freshness = Freshness([f"{address}?db={number}" for number in range(3)], lease, counting=CallerLimits.lua)
    yield freshness
    freshness.close()


def stamped(wire) -> set[str]:
    """Return the organizations that a Redis has stamps of."""
    return {key.decode().split(":")[2] for key in wire.send(b"KEYS", "stamp:*")}


def test_an_organization_lives_in_one_redis_and_the_platform_in_each(several):
    organizations = [new_id() for _ in range(30)]
    primary = several._lease.granted().primary
    for organization in organizations:
        begun = several.begin({(organization, "students"), (PLATFORM_ID, "exercises")}, primary)
        several.end(begun, "0/1000")

    found = [stamped(wire) - {str(PLATFORM_ID)} for wire in several.wires]
    assert all(found), "each has some"
    assert sorted(str(one) for one in organizations) == sorted(one for some in found for one in some)
    assert all(str(PLATFORM_ID) in stamped(wire) for wire in several.wires)
    for wire in several.wires:
        assert not wire.send(b"KEYS", "pending:*"), "each begin has its end"
        for organization in stamped(wire) - {str(PLATFORM_ID)}:
            assert several.redis_of(organization) is wire


def test_without_one_redis_the_others_keep_their_organizations(several):
    organizations = [str(new_id()) for _ in range(200)]
    before = {one: several.redis_of(one) for one in organizations}
    gone = several.wires.pop()
    gone.close()

    assert {before[one] for one in organizations} == {*several.wires, gone}
    assert all(several.redis_of(one) is before[one] for one in organizations if before[one] is not gone)


def test_an_identity_is_trusted_once_ten_seconds_have_passed(several):
    organization = str(new_id())
    wire = several.redis_of(organization)
    question = LookupRequest(organization, "u", (f"{organization}:access",))

    several._positions = RequestBatcher(lambda errands: [setattr(e, "answer", ("0/1000", primary)) for e in errands])
    primary = several._lease.granted().primary
    assert not several.ask(question, None).is_trusted
    run_id, space, made = wire.send(b"GET", f"identity:{primary}").split(b":")
    for seconds, is_trusted in ((9, False), (11, True)):
        wire.send(b"SET", f"identity:{primary}", b":".join((run_id, space, b"%d" % (int(made) - 1000 * seconds))))
        assert several.ask(question, None).is_trusted == is_trusted
    wire.send(b"SET", f"identity:{primary}", b"another:ab:0")
    assert not several.ask(question, None).is_trusted, "an older copy"
