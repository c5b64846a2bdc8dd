"""Parts of the protocol, each on the real server: batching, the Redis connection, memory, several Redis."""

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
from tests.freshness.postgres_side import ManualLease, Servers
from tests.freshness.stepping import Crash
from tests.waiting import until

PATIENCE_S = 20


class Counter:
    """A batcher over a counter; its first trip waits for ``may_end``."""

    def __init__(self, failure=None):
        self.trips, self.failure = [], failure
        self.is_under_way, self.may_end = threading.Event(), threading.Event()
        self.batcher = RequestBatcher(self.serve)
        self.replies, self.refused = {}, {}

    def serve(self, requests):
        self.trips.append([request.payload for request in requests])
        if len(self.trips) == 1:
            self.is_under_way.set()
            assert self.may_end.wait(PATIENCE_S)
            if self.failure is not None:
                raise self.failure
        for request in requests:
            request.reply = request.payload.upper()

    def start_caller(self, what):
        def ask():
            try:
                self.replies[what] = self.batcher.request(what)
            except BaseException as error:  # noqa: BLE001 - looked at
                self.refused[what] = error

        caller = threading.Thread(target=ask)
        caller.start()
        return caller

    def run_callers(self):
        """Start one caller, and three more during its trip."""
        callers = [self.start_caller("a")]
        assert self.is_under_way.wait(PATIENCE_S)
        callers += [self.start_caller(what) for what in "bcd"]
        until(lambda: len(self.batcher._waiting) == 3)
        self.may_end.set()
        for caller in callers:
            caller.join(PATIENCE_S)


def test_callers_during_a_trip_share_the_next_one():
    counter = Counter()
    counter.run_callers()

    assert [sorted(trip) for trip in counter.trips] == [["a"], ["b", "c", "d"]]
    assert counter.replies == {"a": "A", "b": "B", "c": "C", "d": "D"}


@pytest.mark.parametrize("failure", [Crash(), ValueError("no")], ids=["stopped", "failed"])
def test_a_failed_trip_blocks_no_waiting_caller(failure):
    counter = Counter(failure)
    counter.run_callers()

    assert list(counter.refused) == ["a"]
    assert counter.replies == {"b": "B", "c": "C", "d": "D"}
    assert counter.batcher.request("e") == "E"


def test_callers_that_share_an_interrupted_trip_get_an_error():
    def serve(requests):
        trips.append(requests)
        if len(trips) == 1:
            assert may_go.wait(PATIENCE_S)
        elif len(trips) == 2:
            raise Crash

    trips, refused, may_go = [], [], threading.Event()
    batcher = RequestBatcher(serve)

    def ask():
        try:
            batcher.request()
        except (Crash, Interrupted) as error:
            refused.append(type(error))

    callers = [threading.Thread(target=ask) for _ in range(4)]
    for caller in callers:
        caller.start()
    until(lambda: len(batcher._waiting) == 3)
    may_go.set()
    for caller in callers:
        caller.join(PATIENCE_S)

    assert sorted(error.__name__ for error in refused) == ["Crash", "Interrupted", "Interrupted"]


def test_a_forked_process_starts_without_waiting_callers():
    counter = Counter()
    caller = counter.start_caller("a")
    assert counter.is_under_way.wait(PATIENCE_S)

    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if counter.batcher.request("z") == "Z" else 1)
        finally:
            os._exit(2)
    _, status = os.waitpid(child, 0)
    counter.may_end.set()
    caller.join(PATIENCE_S)

    assert os.waitstatus_to_exitcode(status) == 0
    assert counter.replies == {"a": "A"}


# The Redis connection -------------------------------------------------------------------------------------------------


BEGIN = Script(SCRIPTS, "begin")


@pytest.fixture
def wire(cache_server):
    wire = PipelinedRedis(cache_server.join("wire"), (BEGIN,))
    cache_server.client.flushall()
    yield wire
    wire.close()


def begun(wire, nonce="ab") -> bytes:
    return wire.run(BEGIN, nonce, "primary", 10_000, "o:students")


def script_calls(cache_server) -> int:
    stats = cache_server.client.info("commandstats")
    return stats.get("cmdstat_evalsha", {"calls": 0})["calls"]


def test_a_script_that_the_server_has_lost_is_loaded_again(wire, cache_server):
    space = begun(wire)
    cache_server.client.script_flush()

    assert begun(wire, "cd") == space
    assert cache_server.client.zcard(f"pending:{space.decode()}:o:students") == 2


def test_a_restarted_server_gets_a_new_identity(wire, cache_server):
    space = begun(wire)
    cache_server.restart(cache_server.copy())
    with pytest.raises(CacheUnavailable):
        begun(wire)
    wire.breaker = CircuitBreaker(0.0)

    assert begun(wire, "cd") != space


def test_a_hanging_server_is_skipped_and_its_late_reply_is_dropped(wire, cache_server):
    space = begun(wire)
    cache_server.hang()
    try:
        with pytest.raises(CacheUnavailable):
            begun(wire, "cd")
    finally:
        cache_server.go_on()
    before = script_calls(cache_server)
    with pytest.raises(CacheUnavailable):
        begun(wire, "ef")
    assert script_calls(cache_server) == before

    wire.breaker = CircuitBreaker(0.0)
    assert wire.send(b"GET", "identity:primary").split(b":")[1] == space


# The memory of a process ----------------------------------------------------------------------------------------------


def cached_response(size: int) -> CachedResponse:
    return CachedResponse(b"key", b"x" * size, "", None)


def test_memory_is_bounded_and_drops_the_least_recently_used():
    memory = ResponseMemory(10_000)
    for tenant in range(100):
        memory.put(tenant, cached_response(1000), 60)
        assert memory.get(0) is not None
        assert memory.bytes <= 10_000
    assert len(memory) == 6
    assert memory.get(1) is None

    memory.put(99, cached_response(20_000), 60)
    assert memory.get(99) is None
    memory.clear()
    assert memory.bytes == len(memory) == 0


def test_a_hundred_concurrent_misses_render_one_response():
    cache, made, found, may_land = ResponseCache(10_000), [], [], threading.Event()

    def ask():
        with cache.flight(b"key") as (flight, leads):
            if leads:
                until(lambda: len(waiting) == 100)
                assert may_land.wait(PATIENCE_S)
                made.append(1)
                flight.found = "answer"
            found.append(flight.found)

    waiting = [threading.Thread(target=ask) for _ in range(100)]
    for one in waiting:
        one.start()
    until(lambda: len(cache._flights) == 1)
    may_land.set()
    for one in waiting:
        one.join(PATIENCE_S)

    assert found == ["answer"] * 100
    assert len(made) == 1
    assert not cache._flights


def test_a_leader_that_fails_releases_its_followers():
    cache, found, leads_now, may_fail = ResponseCache(10_000), [], threading.Event(), threading.Event()

    def fail():
        with pytest.raises(ValueError, match="no"), cache.flight(b"key"):
            leads_now.set()
            assert may_fail.wait(PATIENCE_S)
            raise ValueError("no")

    def follow():
        with cache.flight(b"key") as (flight, _leads):
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
    """Freshness over three databases of one Redis, in place of three servers."""
    url = cache_server.join("several")
    cache_server.client.flushall()
    lease = ManualLease(Servers())
    lease.renew()
    freshness = Freshness([f"{url}?db={number}" for number in range(3)], lease, counting=CallerLimits.lua)
    yield freshness
    freshness.close()


def stamped(wire) -> set[str]:
    """Return the organizations that have stamps in a Redis."""
    return {key.decode().split(":")[2] for key in wire.send(b"KEYS", "stamp:*")}


def test_an_organization_is_in_one_redis_and_the_platform_in_each(several):
    organizations = [new_id() for _ in range(30)]
    primary = several._lease.granted().primary
    for organization in organizations:
        begun = several.begin({(organization, "students"), (PLATFORM_ID, "exercises")}, primary)
        several.end(begun, "0/1000")

    found = [stamped(wire) - {str(PLATFORM_ID)} for wire in several.servers]
    assert all(found), "each Redis has some"
    assert sorted(str(one) for one in organizations) == sorted(one for some in found for one in some)
    assert all(str(PLATFORM_ID) in stamped(wire) for wire in several.servers)
    for wire in several.servers:
        assert not wire.send(b"KEYS", "pending:*"), "each begin has its end"
        for organization in stamped(wire) - {str(PLATFORM_ID)}:
            assert several.redis_of(organization) is wire


def test_without_one_redis_the_organizations_of_the_others_stay(several):
    organizations = [str(new_id()) for _ in range(200)]
    before = {one: several.redis_of(one) for one in organizations}
    gone = several.servers.pop()
    gone.close()

    assert {before[one] for one in organizations} == {*several.servers, gone}
    assert all(several.redis_of(one) is before[one] for one in organizations if before[one] is not gone)


def test_an_identity_is_trusted_after_ten_seconds(several):
    organization = str(new_id())
    wire = several.redis_of(organization)
    lookup = LookupRequest(organization, "u", (f"{organization}:access",))

    several._positions = RequestBatcher(lambda requests: [setattr(e, "reply", ("0/1000", primary)) for e in requests])
    primary = several._lease.granted().primary
    assert not several.look_up(lookup, None).is_trusted
    run_id, space, made = wire.send(b"GET", f"identity:{primary}").split(b":")
    for seconds, is_trusted in ((9, False), (11, True)):
        wire.send(b"SET", f"identity:{primary}", b":".join((run_id, space, b"%d" % (int(made) - 1000 * seconds))))
        assert several.look_up(lookup, None).is_trusted == is_trusted
    wire.send(b"SET", f"identity:{primary}", b"another:ab:0")
    assert not several.look_up(lookup, None).is_trusted, "an older copy"
