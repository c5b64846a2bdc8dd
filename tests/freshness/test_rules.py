"""Every rule of the protocol, taken out of the code in turn: a promise breaks without it, and holds with it.

Each walk is the shortest that the protocol's model finds when it is checked without the rule; the code under test is
the real one, in which a test changes this and nothing else:

rule                   what is changed
---------------------  ------------------------------------------------------------------------------------------------
begin                  begin.lua adds no entries and sets no marks
floor                  end.lua leaves nothing where no stamp is
floor-has-no-epoch     end.lua gives the floor the present epoch. A second guard goes too: the stamp of ``access``,
                       which each answer has and which is always repaired in the present epoch, asks as much of a
                       replica; so ask.lua leaves it out of the position that a replica must have replayed
maximum                end.lua sets its own position
end                    end.lua drops its entry and raises nothing
lsn-after-commit       ``session.commit`` asks for the position before it commits
flushed-position       the primary tells the position that is inserted, not the one that is flushed; the model does
                       not know this rule: there, positions run backwards only with a promotion
epoch-in-key           the lease tells every epoch as 0
identity-in-key        common.lua gives each identity the same space
timeline-in-identity   the primary does not tell its timeline
wait                   ``Freshness.wait_out`` does not wait
unstamped-row          ``work.complete`` adds no row
replica-check          ``Replicas._able`` asks for no position. The second guard goes too: ``as_lsn``, by which the
                       replica itself is asked again in the transaction that reads
quarantine             common.lua trusts an identity at once
repair-names           repair.lua drops all that is overdue
repair                 repair.lua does not raise a stamp that is there, so that what is overdue is only dropped
pending-bypass         common.lua sets no marks, by which ask.lua and repair.lua know that a write is on its way
"""

import inspect
import textwrap
from collections.abc import Callable
from typing import Any

import pytest

from campshub.core.db import session, unit_of_work
from campshub.core.freshness import replicas
from campshub.core.freshness.protocol import Freshness
from campshub.core.freshness.replicas import Replicas
from tests.freshness.postgres_side import HeldLease
from tests.freshness.processes import FOR_EVER, Request, replaced
from tests.freshness.world import Broken, World

RAISE = "if ARGV[5] > position then position = ARGV[5] end"
LEAVE_FLOOR = "if not epoch and position ~= '' then epoch = '-' end"
REPAIR = "if ARGV[6] > position then position = ARGV[6] end"
DROP_NAMED = "for nonce in string.gmatch(ARGV[i + 1], '[^,]+') do redis.call('ZREM', 'pending:' .. rest, nonce) end"
DROP_ALL = "redis.call('ZREMRANGEBYSCORE', 'pending:' .. rest, '-inf', now_ms())"
NEWEST = "if position > newest then newest = position end"
ASK = 'row = _batch(connection, f"COMMIT{position}", expect="COMMIT")'
ASK_FIRST = 'row = _batch(connection, position[2:]); _batch(connection, "COMMIT", expect="COMMIT")'
FITS = "seen.position >= needed"

LUA: dict[str, dict[str, tuple[str, str]]] = {
    "begin": {"begin": ("for i = 5, #ARGV do", "for i = 5, 4 do")},
    "floor": {"end": (LEAVE_FLOOR, "if not epoch then position = '' end")},
    "floor-has-no-epoch": {
        "end": (LEAVE_FLOOR, LEAVE_FLOOR.replace("'-'", "'1'")),
        "ask": (NEWEST, NEWEST.replace("if ", "if i > 1 and ")),
    },
    "maximum": {"end": (RAISE, "if ARGV[5] ~= '' then position = ARGV[5] end")},
    "end": {"end": (RAISE, "")},
    "identity-in-key": {"common": ("run_id .. ':' .. nonce .. ':'", "run_id .. ':ab:'")},
    "quarantine": {"common": (FOR_EVER, "local QUARANTINE_MS = 0")},
    "repair-names": {"repair": (DROP_NAMED, DROP_ALL)},
    "repair": {"repair": (REPAIR, REPAIR.replace("if ", "if not epoch and "))},
    "pending-bypass": {"common": ("(marked and '!' or '')", "''")},
}


def changed(patch: pytest.MonkeyPatch, place: Any, name: str, old: str, new: str) -> None:
    """Put a function into a place whose words differ in one spot."""
    function = getattr(place, name)
    words = replaced(textwrap.dedent(inspect.getsource(function)), old, new)
    made: dict[str, Any] = {}
    exec(compile(words, "<changed>", "exec"), function.__globals__, made)  # noqa: S102 - the project's own words
    patch.setattr(place, name, made[name])
    if place is session:
        patch.setattr(unit_of_work, name, made[name])


def without(world: World, patch: pytest.MonkeyPatch, rule: str) -> None:
    """Begin a world in which a rule does not hold."""
    if rule == "lsn-after-commit":
        changed(patch, session, "commit", ASK, ASK_FIRST)
    elif rule == "unstamped-row":
        changed(patch, unit_of_work, "_commit", "session.execute(epoch.ADD)", "pass")
    elif rule == "wait":
        patch.setattr(Freshness, "wait_out", lambda _freshness: None)
    elif rule == "epoch-in-key":
        granted = HeldLease.granted
        patch.setattr(HeldLease, "granted", lambda lease: (held := granted(lease)) and type(held)(0, held.primary, 0.0))
    elif rule == "replica-check":
        changed(patch, Replicas, "_able", FITS, "True")
        patch.setattr(replicas, "as_lsn", lambda _position: None)
    world.begin_anew(lua=LUA.get(rule))
    switch(world, rule)


def switch(world: World, rule: str) -> None:
    """Make the servers of a new world tell what they would without a rule."""
    world.servers.tells_timeline = rule != "timeline-in-identity"
    world.servers.tells_inserted = rule == "flushed-position"


# The walks. Process 0 reads, the others write. --------------------------------------------------------------------


def settled(world: World) -> None:
    world.settle(0)


def asked(world: World) -> Request:
    """Start a read that has asked the primary for its position, if it may, and will read there."""
    return world.to(world.read(0, replica=False), "repair", "read")


def shown_then_sought_elsewhere(world: World, reader: Request) -> None:
    """Show what the primary has, then read another answer, which may come from the replica."""
    world.end(reader)
    world.end(world.read(0, "q"))


def walk_begin(world: World) -> None:
    reader = asked(world)
    world.to(world.write(1, 1), "committed")
    shown_then_sought_elsewhere(world, reader)


def walk_end(world: World) -> None:
    reader = asked(world)
    world.end(world.write(1, 1))
    shown_then_sought_elsewhere(world, reader)


def walk_maximum(world: World) -> None:
    reader = asked(world)
    first = world.to(world.write(1, 1), "lsn")
    world.replay()
    world.to(first, "end")
    world.end(world.write(2, 2))
    world.end(first)
    shown_then_sought_elsewhere(world, reader)


def walk_floor_has_no_epoch(world: World) -> None:
    world.cut(1)
    first = world.to(world.write(1, 1), "commit")
    second = world.to(world.write(2, 2), "lsn")
    world.replay()
    world.to(second, "end")
    world.end(first)
    world.end(second)
    world.renew(0)
    world.end(world.read(0))


def walk_epoch_in_key(world: World) -> None:
    world.cut(1)
    writer = world.to(world.write(1, 1), "commit")
    reader = asked(world)
    world.to(writer, "committed")
    world.renew(0)
    shown_then_sought_elsewhere(world, reader)


def walk_unstamped_row(world: World) -> None:
    world.cut(1)
    writer = world.to(world.write(1, 1), "commit")
    reader = asked(world)
    world.to(writer, "committed")
    shown_then_sought_elsewhere(world, reader)


def walk_wait(world: World) -> None:
    world.cut(1)
    writer = world.to(world.write(1, 1), "commit")
    reader = asked(world)
    world.end(writer)
    shown_then_sought_elsewhere(world, reader)


def walk_replica_check(world: World) -> None:
    world.cut(1)
    world.end(world.write(1, 1))
    world.renew(0)
    world.end(world.read(0))


def walk_quarantine(world: World) -> None:
    writer = world.to(world.write(1, 1), "commit")
    world.empty()
    reader = asked(world)
    world.to(writer, "committed")
    shown_then_sought_elsewhere(world, reader)


def walk_identity_in_key(world: World) -> None:
    reader = asked(world)
    writer = world.to(world.write(1, 1), "commit")
    world.empty()
    world.crash(world.to(writer, "committed"))
    world.renew(2)
    world.end(world.read(2))
    world.trusts()
    shown_then_sought_elsewhere(world, reader)


def walk_timeline_in_identity(world: World) -> None:
    world.end(world.write(1, 1))
    world.promote()
    world.renew(0)
    reader = world.to(world.read(0, replica=False), "read")
    writer = world.to(world.write(2, 2), "commit")
    world.end(reader)
    world.end(writer)
    world.end(world.read(0))


def walk_flushed_position(world: World) -> None:
    world.servers.insert()
    world.servers.insert()
    world.end(world.read(0))
    world.servers.crash()
    world.renew(0)
    world.end(world.write(1, 1))
    world.end(world.read(0))


def walk_repair(world: World) -> None:
    reader = asked(world)
    writer = world.to(world.write(1, 1), "committed")
    world.crash(writer)
    world.make_overdue(writer)
    shown_then_sought_elsewhere(world, reader)


def walk_pending_bypass(world: World) -> None:
    writer = world.to(world.write(1, 1), "commit")
    reader = asked(world)
    world.to(writer, "committed")
    shown_then_sought_elsewhere(world, reader)


WALKS: dict[str, Callable[[World], None]] = {
    "begin": walk_begin,
    "floor": walk_end,
    "floor-has-no-epoch": walk_floor_has_no_epoch,
    "maximum": walk_maximum,
    "end": walk_end,
    "lsn-after-commit": walk_end,
    "epoch-in-key": walk_epoch_in_key,
    "identity-in-key": walk_identity_in_key,
    "timeline-in-identity": walk_timeline_in_identity,
    "wait": walk_wait,
    "unstamped-row": walk_unstamped_row,
    "replica-check": walk_replica_check,
    "flushed-position": walk_flushed_position,
    "quarantine": walk_quarantine,
    "repair-names": walk_repair,
    "repair": walk_repair,
    "pending-bypass": walk_pending_bypass,
}


@pytest.mark.parametrize("rule", WALKS)
def test_with_the_rule_the_walk_keeps_the_promises(world, rule):
    settled(world)
    WALKS[rule](world)


@pytest.mark.parametrize("rule", WALKS)
def test_without_the_rule_the_walk_breaks_a_promise(world, monkeypatch, rule):
    without(world, monkeypatch, rule)
    settled(world)

    with pytest.raises(Broken):
        WALKS[rule](world)
