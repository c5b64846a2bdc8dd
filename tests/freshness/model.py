"""Exhaustive model of the freshness protocol that ``docs/freshness.md`` describes; ``explore.py`` runs it.

A world has up to two writers with one write each, up to two reading processes, one replica and one cache Redis. Redis
may be emptied or put back to an older copy, a writer may lose its connection to Redis or crash, and the replica may be
promoted: the writes that it had not replayed are lost, and LSNs run backwards. Two promises are checked on every read:

    acknowledged   a read that starts after a write was answered shows it
    monotonic      a read that starts after another read has shown a write shows it

Both files need only the standard library of Python 3.9, which Debian's PyPy has.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

RULES = {
    "begin": "begin adds a pending entry to Redis before COMMIT",
    "floor": "end leaves its LSN also where there is no stamp, as a floor for the next repair",
    "floor-has-no-epoch": "the floor is not a stamp: the next reader repairs it",
    "maximum": "end raises the stamp to the greater LSN instead of setting its own",
    "end": "end raises the stamp, and does not only drop the pending entry, before the write is answered",
    "lsn-after-commit": "the LSN is read after the commit record",
    "epoch-in-key": "the epoch is part of the names of stamps and entries",
    "identity-in-key": "the identity of the Redis is part of the names of stamps and entries",
    "timeline-in-identity": "the primary's timeline is part of the identity",
    "wait": "a write that could not be stamped waits until the leases have expired",
    "unstamped-row": "a write that could not be stamped changes the epoch in its own transaction",
    "replica-check": "a replica serves only what it has replayed",
    "quarantine": "a new identity is trusted only when every write begun before it has finished",
    "repair-names": "a repair drops only the entries that were overdue before it read the LSN",
    "repair": "an overdue pending entry makes the reader get the LSN from the primary",
    "pending-bypass": "readers use no cache and no replica while something is pending",
}
READERS = "AB"
ANSWERS = "pq"  # two cached answers that have the same tags
NO_LEASE = -1
NO_EPOCH = -1  # of a floor
NEVER = -1


class Stamp(NamedTuple):
    space: int  # the identities under which it was written, as one number
    epoch: int
    lsn: int


class Redis(NamedTuple):
    identity: int = 0
    is_trusted: bool = True
    stamp: tuple = ()  # a Stamp, or () where it is missing
    pending: frozenset = frozenset()  # writers; an overdue one is negative
    cache: tuple = ()  # (((space, epoch, LSN, answer), writes shown), ...)


class Writer(NamedTuple):
    step: str = "idle"
    lsn: int = 0
    identity: int = NEVER  # of the Redis at begin
    timeline: int = 0  # of the primary at begin
    is_cut: bool = False
    awaited_epoch: int = NEVER  # the epoch that every lease must have reached


class Reader(NamedTuple):
    step: str = "idle"
    lease: int = NO_LEASE  # the epoch that it knows
    answer: str = ""
    stamp: tuple = ()
    overdue: frozenset = frozenset()  # the entries that its repair may drop
    must_show: frozenset = frozenset()
    memory: tuple = ()  # the cache of its process
    reads_left: int = 2


class World(NamedTuple):
    commits: tuple = ()  # writers in the order of their commits; LSN n: n commits
    epoch: int = 0
    replayed: int = 0
    redis: Redis = Redis()
    writers: tuple = (Writer(), Writer())
    readers: tuple = (Reader(), Reader())
    shown: frozenset = frozenset()  # writes that were acknowledged, or shown by a finished read
    resets: int = 1
    cuts: int = 1
    crashes: int = 1
    promotions: int = 0
    timeline: int = 0


Step = tuple[str, World]


class Broken(Exception):
    """A read does not show a write that it must show."""


def world_of(writers: int, reads: tuple, *, resets: int = 0, cuts: int = 0, crashes: int = 0, promotions: int = 0):
    """Return a world with as many writers, one reader for each number of reads, and the faults that may happen."""
    return World(
        writers=(Writer(),) * writers,
        readers=tuple(Reader(reads_left=number) for number in reads),
        resets=resets,
        cuts=cuts,
        crashes=crashes,
        promotions=promotions,
    )


def steps(world: World, rules: frozenset) -> Iterator[Step]:
    """Yield what may happen next: a sentence, and the world afterwards.

    :raises Broken: a read may end now without a write that it must show.
    """
    yield from _fault_steps(world, rules)
    for number in range(len(world.writers)):
        yield from _writer_steps(world, number, rules)
    for number in range(len(world.readers)):
        yield from _reader_steps(world, number, rules)


def _space(world: World, rules: frozenset) -> int:
    redis = world.redis.identity * 10 if "identity-in-key" in rules else 0
    return redis + (world.timeline if "timeline-in-identity" in rules else 0)


def _stored(pairs: tuple, key: tuple, value: frozenset) -> tuple:
    return tuple(sorted({**dict(pairs), key: value}.items()))


# Replica, Redis and promotion ---------------------------------------------------------------------------------------


def _fault_steps(world: World, rules: frozenset) -> Iterator[Step]:
    redis = world.redis
    if world.replayed < len(world.commits):
        yield "the replica replays", world._replace(replayed=world.replayed + 1)
    if world.resets:
        older = (*redis.stamp[:2], max(0, redis.stamp[2] - 1)) if redis.stamp else ()
        empty = Redis(redis.identity + 1, is_trusted=False)
        copy = empty._replace(stamp=older, cache=redis.cache)
        yield "Redis is emptied", world._replace(redis=empty, resets=world.resets - 1)
        yield "Redis comes back as an older copy", world._replace(redis=copy, resets=world.resets - 1)
    if not redis.is_trusted and ("quarantine" not in rules or _earlier_writes_have_finished(world)):
        yield "the new Redis is trusted", world._replace(redis=redis._replace(is_trusted=True))
    # Assumed: no promotion before the leases of the old primary have expired.
    if world.promotions and all(reader.lease < 0 for reader in world.readers):
        yield "the replica is promoted", _promoted(world, rules)


def _earlier_writes_have_finished(world: World) -> bool:
    now = (world.redis.identity, world.timeline)
    return all(
        writer.step in ("idle", "done", "crashed") or writer.identity < 0 or (writer.identity, writer.timeline) == now
        for writer in world.writers
    )


def _promoted(world: World, rules: frozenset) -> World:
    survived = world.commits[: world.replayed]
    lost = set(world.commits) - set(survived)
    redis = world.redis
    if "timeline-in-identity" in rules:
        redis = redis._replace(is_trusted=False, pending=frozenset())
    return world._replace(
        commits=survived,
        shown=world.shown & frozenset(survived),
        epoch=world.epoch - sum(number in lost and w.identity < 0 for number, w in enumerate(world.writers, 1)),
        redis=redis,
        # Lost writes and open transactions end.
        writers=tuple(
            writer._replace(step="crashed") if number in lost or writer.step in ("begun", "unstamped begun") else writer
            for number, writer in enumerate(world.writers, 1)
        ),
        readers=tuple(reader._replace(must_show=reader.must_show & frozenset(survived)) for reader in world.readers),
        promotions=world.promotions - 1,
        timeline=world.timeline + 1,
    )


# Writers -------------------------------------------------------------------------------------------------------------


def _with_writer(world: World, number: int, **changes) -> World:
    before, writer, after = world.writers[:number], world.writers[number], world.writers[number + 1 :]
    return world._replace(writers=(*before, writer._replace(**changes), *after))


def _writer_steps(world: World, number: int, rules: frozenset) -> Iterator[Step]:
    writer, name, pending = world.writers[number], number + 1, world.redis.pending
    if world.cuts and not writer.is_cut and writer.step not in ("done", "crashed"):
        yield f"writer {name} loses Redis", _with_writer(world._replace(cuts=world.cuts - 1), number, is_cut=True)
    if world.crashes and writer.step in ("begun", "committed", "has lsn", "unstamped begun", "waits"):
        yield f"writer {name} crashes", _with_writer(world._replace(crashes=world.crashes - 1), number, step="crashed")
    if writer.step in WRITER_STEPS:
        for what, after in WRITER_STEPS[writer.step](world, number, rules):
            yield f"writer {name} {what}", after
    if name in pending and writer.step in ("crashed", "done"):
        redis = world.redis._replace(pending=(pending - {name}) | {-name})
        yield f"the pending entry of writer {name} is overdue", world._replace(redis=redis)


def _begin(world: World, number: int, rules: frozenset) -> Iterator[Step]:
    if world.writers[number].is_cut:
        yield "begins without Redis", _with_writer(world, number, step="unstamped begun")
        return
    if "begin" in rules:
        world = world._replace(redis=world.redis._replace(pending=world.redis.pending | {number + 1}))
    begun = {"step": "begun", "identity": world.redis.identity, "timeline": world.timeline}
    yield "begins", _with_writer(world, number, **begun)


def _commit(world: World, number: int, rules: frozenset) -> Iterator[Step]:
    after = world._replace(commits=(*world.commits, number + 1))
    if "lsn-after-commit" in rules:
        yield "commits", _with_writer(after, number, step="committed")
    else:
        yield "reads the LSN and commits", _with_writer(after, number, step="has lsn", lsn=len(world.commits))


def _read_lsn(world: World, number: int, _rules: frozenset) -> Iterator[Step]:
    yield "reads the LSN", _with_writer(world, number, step="has lsn", lsn=len(world.commits))


def _end(world: World, number: int, rules: frozenset) -> Iterator[Step]:
    writer, redis, name = world.writers[number], world.redis, number + 1
    timeline_differs = writer.timeline != world.timeline and "timeline-in-identity" in rules
    remaining = redis.pending - {name, -name}
    if "end" not in rules:
        after = world._replace(redis=redis._replace(pending=remaining))
        yield "drops its pending entry and raises no stamp", _with_writer(after, number, step="ended")
    elif writer.is_cut or writer.identity != redis.identity or timeline_differs:
        # Its pending entry, if there is one, sends readers to the primary until it is overdue.
        yield "cannot end", _with_writer(world, number, step="ended")
    else:
        stamp, space = redis.stamp, _space(world, rules)
        if stamp and stamp[0] == space:
            stamp = Stamp(*stamp[:2], max(stamp[2], writer.lsn) if "maximum" in rules else writer.lsn)
        elif "floor" in rules:
            stamp = Stamp(space, NO_EPOCH if "floor-has-no-epoch" in rules else world.epoch, writer.lsn)
        after = world._replace(redis=redis._replace(stamp=stamp, pending=remaining))
        yield "ends", _with_writer(after, number, step="ended")


def _answer(world: World, number: int, _rules: frozenset) -> Iterator[Step]:
    yield "answers", _with_writer(world._replace(shown=world.shown | {number + 1}), number, step="done")


def _commit_unstamped(world: World, number: int, rules: frozenset) -> Iterator[Step]:
    epoch = world.epoch + (1 if "unstamped-row" in rules else 0)
    after = world._replace(commits=(*world.commits, number + 1), epoch=epoch)
    yield "commits without a stamp", _with_writer(after, number, step="waits", awaited_epoch=epoch)


def _wait_and_answer(world: World, number: int, rules: frozenset) -> Iterator[Step]:
    awaited = world.writers[number].awaited_epoch
    if "wait" not in rules or all(reader.lease < 0 or reader.lease >= awaited for reader in world.readers):
        yield from _answer(world, number, rules)


WRITER_STEPS = {
    "idle": _begin,
    "begun": _commit,
    "committed": _read_lsn,
    "has lsn": _end,
    "ended": _answer,
    "unstamped begun": _commit_unstamped,
    "waits": _wait_and_answer,
}


# Readers -------------------------------------------------------------------------------------------------------------


def _with_reader(world: World, number: int, **changes) -> World:
    before, reader, after = world.readers[:number], world.readers[number], world.readers[number + 1 :]
    return world._replace(readers=(*before, reader._replace(**changes), *after))


def _reader_steps(world: World, number: int, rules: frozenset) -> Iterator[Step]:
    reader, name = world.readers[number], READERS[number]
    if reader.lease != world.epoch and reader.reads_left:
        yield f"reader {name} renews its lease", _with_reader(world, number, lease=world.epoch)
    if reader.lease >= 0 and reader.lease != world.epoch:
        yield f"the lease of reader {name} expires", _with_reader(world, number, lease=NO_LEASE)
    if reader.step == "idle" and reader.reads_left:
        what, after = _start(world, number, rules)
        for answer in ANSWERS:
            started = _with_reader(after, number, must_show=world.shown, answer=answer)
            yield f"reader {name}, answer {answer}: {what}", started
    if reader.step == "repair":
        what, after = _repair(world, number, rules)
        yield f"reader {name} {what}", after
    if reader.step == "primary":
        yield _finished(world, number, "reads the primary", frozenset(world.commits))
    if reader.step == "stamped":
        yield from _serve(world, number, rules)


def _start(world: World, number: int, rules: frozenset) -> Step:
    reader, redis, stamp, space = world.readers[number], world.redis, world.redis.stamp, _space(world, rules)
    at_primary = _with_reader(world, number, step="primary")
    if reader.lease < 0:
        return "has no lease", at_primary
    if not redis.is_trusted or (any(entry > 0 for entry in redis.pending) and "pending-bypass" in rules):
        return "must not use caches", at_primary
    epoch = reader.lease if "epoch-in-key" in rules else 0
    if stamp and stamp[0] == space and stamp[1] > epoch:
        return "has an outdated epoch", at_primary
    overdue = frozenset(entry for entry in redis.pending if entry < 0)
    if not stamp or stamp[0] != space or stamp[1] < epoch or (overdue and "repair" in rules):
        repaired = Stamp(space, epoch, len(world.commits))
        return "reads the LSN for a repair", _with_reader(world, number, step="repair", stamp=repaired, overdue=overdue)
    after = world._replace(redis=redis._replace(pending=redis.pending - overdue))
    return f"has the stamp {tuple(stamp)}", _with_reader(after, number, step="stamped", stamp=stamp)


def _repair(world: World, number: int, rules: frozenset) -> Step:
    reader, redis, stamp, space = world.readers[number], world.redis, world.redis.stamp, _space(world, rules)
    is_current = bool(stamp) and stamp[0] == space
    if reader.stamp[0] != space or (is_current and stamp[1] > reader.stamp[1]):
        return "has an outdated repair", _with_reader(world, number, step="primary")
    dropped = reader.overdue if "repair-names" in rules else frozenset(entry for entry in redis.pending if entry < 0)
    repaired = Stamp(*reader.stamp[:2], max(stamp[2], reader.stamp[2]) if is_current else reader.stamp[2])
    redis = redis._replace(stamp=repaired, pending=redis.pending - dropped)
    found = {"step": "primary", "stamp": ()} if redis.pending else {"step": "stamped", "stamp": repaired}
    return f"repairs the stamp to {tuple(repaired)}", _with_reader(world._replace(redis=redis), number, **found)


def _serve(world: World, number: int, rules: frozenset) -> Iterator[Step]:
    """Yield the ways to serve a read that has a stamp: from a cache, or from a server."""
    reader, redis = world.readers[number], world.redis
    key = (*reader.stamp, reader.answer)
    in_memory, in_redis = dict(reader.memory).get(key), dict(redis.cache).get(key)
    if in_memory is not None:
        yield _finished(world, number, "finds it in its memory", in_memory)
        return
    if in_redis is not None and reader.stamp[0] == _space(world, rules):
        stored = _with_reader(world, number, memory=_stored(reader.memory, key, in_redis))
        yield _finished(stored, number, "finds it in Redis", in_redis)
        return
    servers = {"the primary": world.commits}
    if world.replayed >= reader.stamp[2] or "replica-check" not in rules:
        servers["the replica"] = world.commits[: world.replayed]
    for server, commits in servers.items():
        shown = frozenset(commits)
        stored = world._replace(redis=redis._replace(cache=_stored(redis.cache, key, shown)))
        stored = _with_reader(stored, number, memory=_stored(reader.memory, key, shown))
        yield _finished(stored, number, f"reads {server} and stores it", shown)


def _finished(world: World, number: int, how: str, shown: frozenset) -> Step:
    reader, name = world.readers[number], READERS[number]
    if not reader.must_show <= shown:
        raise Broken(f"reader {name} {how} and does not show the writes {sorted(reader.must_show - shown)}")
    over = Reader(lease=reader.lease, memory=reader.memory, reads_left=reader.reads_left - 1)
    after = world._replace(shown=world.shown | _binding(world, shown))
    return f"reader {name} {how}: shows {sorted(shown)}", _with_reader(after, number, **over._asdict())


def _binding(world: World, shown: frozenset) -> frozenset:
    """Return those of the shown writes that later reads must show too.

    A write that could not be stamped binds when no process has an older epoch, half a second later: the exception that
    the promise names. What a promotion has lost binds no read.
    """
    leases = [reader.lease for reader in world.readers if reader.lease >= 0]
    early = {
        number
        for number, writer in enumerate(world.writers, 1)
        if writer.awaited_epoch >= 0 and any(lease < writer.awaited_epoch for lease in leases)
    }
    return (shown - early) & frozenset(world.commits)
