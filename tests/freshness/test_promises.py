"""The main sequence of the protocol, without and with single faults."""


def test_a_write_is_shown_by_every_read_after_it_from_the_primary_the_replica_memory_and_redis(world):
    world.settle(0, 1)

    assert world.end(world.read(0)) == frozenset()
    world.end(world.write(1, process=2))
    first = world.read(0)
    assert world.end(first) == {1}
    again = world.read(0)
    assert world.end(again) == {1}
    other = world.read(1)
    assert world.end(other) == {1}
    world.replay()
    other = world.read(1, "q")
    assert world.end(other) == {1}


def test_a_commit_that_hangs_until_its_entry_is_repaired_is_shown_once_it_is_acknowledged(world):
    world.settle(0)
    writer = world.to(world.write(1, 1), "visible")  # its record is in the WAL, but its rows are not visible
    world.ten_seconds()
    world.renew(0)
    assert world.end(world.read(0, replica=False)) == frozenset()  # repairs, and caches a response
    world.end(writer)
    world.renew(0)

    assert world.end(world.read(0)) == {1}


def test_such_a_commit_is_also_shown_when_its_end_finds_another_identity(world):
    world.settle(0)
    writer = world.to(world.write(1, 1), "visible")
    world.empty()
    world.renew(0)
    world.end(world.read(0))
    world.ten_seconds()
    world.renew(0)
    assert world.end(world.read(0, replica=False)) == frozenset()
    world.end(writer)
    world.renew(0)

    assert world.end(world.read(0)) == {1}


def test_a_write_that_is_delayed_between_begin_and_commit_begins_again(world):
    world.settle(0)
    writer = world.to(world.write(1, 1), "begin")
    world.clock.now += 6
    world.past(writer, "begin")
    world.to(writer, "begin")
    world.to(writer, "commit")

    assert len(writer.nonces) == 2
    (pending,) = world.cache.client.keys("pending:*")
    assert world.cache.client.zrange(pending, 0, -1) == [writer.nonces[1].encode()]


def test_a_commit_whose_position_query_failed_is_not_taken_for_a_rollback(world):
    world.settle(0)
    world.end(world.read(0))
    world.servers.cancels_position = True
    writer = world.write(1, 1)
    world.end(writer)
    assert writer.thread.result.status_code >= 500

    assert world.end(world.read(0, replica=False)) == {1}
    assert world.end(world.read(0, "q")) == {1}


def test_a_memoized_value_is_shared_by_responses_and_processes_and_computed_again_after_a_write(world):
    world.settle(0, 1)
    for _ in range(2):
        world.end(world.read(0, "m"))
    shared = [world.read(0, "n"), world.read(1, "m")]
    assert [world.end(request) for request in shared] == [frozenset(), frozenset()]
    assert ["read" in request.thread.passed for request in shared] == [False, False]

    world.end(world.write(1, process=2))
    again = world.read(1, "n")
    assert world.end(again) == {1}
    assert "read" in again.thread.passed


def test_a_value_that_is_computed_while_a_write_commits_is_not_shown_after_it(world):
    world.settle(0, 1)
    reader = world.to(world.read(0, "m", replica=False), "read")
    world.end(world.write(1, process=2))
    world.end(reader)  # stores its value under the stamp from before the write

    assert [world.end(world.read(process, "n")) for process in (0, 1)] == [{1}, {1}]


def test_a_read_continues_when_redis_is_cut_off_before_its_memoized_value(world):
    world.settle(0, 1)
    world.end(world.write(1, process=2))
    world.renew(0)
    world.end(world.read(0, "m"))
    reader = world.to(world.read(1, "n"), "store")  # its lookup is trusted; the next step asks for the value
    world.cut(1)
    assert world.end(reader) == {1}
    world.heal()


def test_a_replica_that_lags_computes_no_value(world):
    world.settle(0, 1)
    world.end(world.write(1, process=2))
    reader = world.to(world.read(0, "m"), "read")
    assert world.end(reader) == {1}
    world.replay()
    assert world.end(world.read(1, "n")) == {1}
