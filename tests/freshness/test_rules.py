"""Every rule of the protocol, removed from the code in turn: without it a promise breaks, with it the promise holds.

Each scenario is the shortest that the protocol's model finds without the rule. The code under test is the real one, in
which a test changes this and nothing else:

rule                   what is changed
---------------------  ------------------------------------------------------------------------------------------------
begin                  begin.lua adds no entries and sets no marks
floor                  end.lua leaves no floor where there is no stamp
floor-has-no-epoch     end.lua gives the floor the current epoch. A second guard is removed too: the stamp of
                       ``access``, which each response has and which is always repaired in the current epoch, requires
                       the same position of a replica; so ask.lua leaves it out of the required position
maximum                end.lua sets its own position
end                    end.lua drops its entry and raises nothing
lsn-after-commit       ``session.commit`` queries the position before it commits
flushed-position       the primary returns the inserted position, not the flushed one; the model does not have this
                       rule: there, positions decrease only with a promotion
epoch-in-key           the lease returns every epoch as 0
identity-in-key        common.lua gives each identity the same space
timeline-in-identity   the primary's identity does not contain its timeline
wait                   ``Freshness.wait_for_leases`` does not wait
unstamped-row          ``unit_of_work._commit`` adds no row
replica-check          ``Replicas._candidates`` requires no position. The second guard is removed too: ``as_lsn``, by
                       which the replica checks its position in the transaction that reads
quarantine             common.lua trusts an identity at once
repair-names           repair.lua drops all overdue entries
repair                 repair.lua does not raise an existing stamp, so that overdue entries are only dropped
pending-bypass         common.lua sets no marks, by which ask.lua and repair.lua know that a write is in progress
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
from tests.freshness.postgres_side import ManualLease
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


def changed(patch: pytest.MonkeyPatch, target: Any, name: str, old: str, new: str) -> None:
    """Replace a function by a version whose source differs in one place."""
    function = getattr(target, name)
    source = replaced(textwrap.dedent(inspect.getsource(function)), old, new)
    made: dict[str, Any] = {}
    exec(compile(source, "<changed>", "exec"), function.__globals__, made)  # noqa: S102 - the project's own code
    patch.setattr(target, name, made[name])
    if target is session:
        patch.setattr(unit_of_work, name, made[name])


def without(world: World, patch: pytest.MonkeyPatch, rule: str) -> None:
    """Start a world without a rule."""
    if rule == "lsn-after-commit":
        changed(patch, session, "commit", ASK, ASK_FIRST)
    elif rule == "unstamped-row":
        changed(patch, unit_of_work, "_commit", "session.execute(epoch.ADD)", "pass")
    elif rule == "wait":
        patch.setattr(Freshness, "wait_for_leases", lambda _freshness: None)
    elif rule == "epoch-in-key":
        granted = ManualLease.granted
        patch.setattr(
            ManualLease, "granted", lambda lease: (grant := granted(lease)) and type(grant)(0, grant.primary, 0.0)
        )
    elif rule == "replica-check":
        changed(patch, Replicas, "_candidates", FITS, "True")
        patch.setattr(replicas, "as_lsn", lambda _position: None)
    world.reset(lua=LUA.get(rule))
    switch(world, rule)


def switch(world: World, rule: str) -> None:
    """Make the servers of a new world behave as without a rule."""
    world.servers.identity_has_timeline = rule != "timeline-in-identity"
    world.servers.position_is_inserted = rule == "flushed-position"


# The scenarios. Process 0 reads, the others write. -------------------------------------------------------------------


def settled(world: World) -> None:
    world.settle(0)


def reader_with_position(world: World) -> Request:
    """Start a read that has read the primary's position, if it may, and that will read there."""
    return world.to(world.read(0, replica=False), "repair", "read")


def show_then_read_elsewhere(world: World, reader: Request) -> None:
    """Finish a read on the primary, then read another response, which may come from the replica."""
    world.end(reader)
    world.end(world.read(0, "q"))


def scenario_begin(world: World) -> None:
    reader = reader_with_position(world)
    world.to(world.write(1, 1), "committed")
    show_then_read_elsewhere(world, reader)


def scenario_end(world: World) -> None:
    reader = reader_with_position(world)
    world.end(world.write(1, 1))
    show_then_read_elsewhere(world, reader)


def scenario_maximum(world: World) -> None:
    reader = reader_with_position(world)
    first = world.to(world.write(1, 1), "lsn")
    world.replay()
    world.to(first, "end")
    world.end(world.write(2, 2))
    world.end(first)
    show_then_read_elsewhere(world, reader)


def scenario_floor_has_no_epoch(world: World) -> None:
    world.cut(1)
    first = world.to(world.write(1, 1), "commit")
    second = world.to(world.write(2, 2), "lsn")
    world.replay()
    world.to(second, "end")
    world.end(first)
    world.end(second)
    world.renew(0)
    world.end(world.read(0))


def scenario_epoch_in_key(world: World) -> None:
    world.cut(1)
    writer = world.to(world.write(1, 1), "commit")
    reader = reader_with_position(world)
    world.to(writer, "committed")
    world.renew(0)
    show_then_read_elsewhere(world, reader)


def scenario_unstamped_row(world: World) -> None:
    world.cut(1)
    writer = world.to(world.write(1, 1), "commit")
    reader = reader_with_position(world)
    world.to(writer, "committed")
    show_then_read_elsewhere(world, reader)


def scenario_wait(world: World) -> None:
    world.cut(1)
    writer = world.to(world.write(1, 1), "commit")
    reader = reader_with_position(world)
    world.end(writer)
    show_then_read_elsewhere(world, reader)


def scenario_replica_check(world: World) -> None:
    world.cut(1)
    world.end(world.write(1, 1))
    world.renew(0)
    world.end(world.read(0))


def scenario_quarantine(world: World) -> None:
    writer = world.to(world.write(1, 1), "commit")
    world.empty()
    reader = reader_with_position(world)
    world.to(writer, "committed")
    show_then_read_elsewhere(world, reader)


def scenario_identity_in_key(world: World) -> None:
    reader = reader_with_position(world)
    writer = world.to(world.write(1, 1), "commit")
    world.empty()
    world.crash(world.to(writer, "committed"))
    world.renew(2)
    world.end(world.read(2))
    world.end_quarantine()
    show_then_read_elsewhere(world, reader)


def scenario_timeline_in_identity(world: World) -> None:
    world.end(world.write(1, 1))
    world.promote()
    world.renew(0)
    reader = world.to(world.read(0, replica=False), "read")
    writer = world.to(world.write(2, 2), "commit")
    world.end(reader)
    world.end(writer)
    world.end(world.read(0))


def scenario_flushed_position(world: World) -> None:
    world.servers.insert()
    world.servers.insert()
    world.end(world.read(0))
    world.servers.crash()
    world.renew(0)
    world.end(world.write(1, 1))
    world.end(world.read(0))


def scenario_repair(world: World) -> None:
    reader = reader_with_position(world)
    writer = world.to(world.write(1, 1), "committed")
    world.crash(writer)
    world.make_overdue(writer)
    show_then_read_elsewhere(world, reader)


def scenario_pending_bypass(world: World) -> None:
    writer = world.to(world.write(1, 1), "commit")
    reader = reader_with_position(world)
    world.to(writer, "committed")
    show_then_read_elsewhere(world, reader)


SCENARIOS: dict[str, Callable[[World], None]] = {
    "begin": scenario_begin,
    "floor": scenario_end,
    "floor-has-no-epoch": scenario_floor_has_no_epoch,
    "maximum": scenario_maximum,
    "end": scenario_end,
    "lsn-after-commit": scenario_end,
    "epoch-in-key": scenario_epoch_in_key,
    "identity-in-key": scenario_identity_in_key,
    "timeline-in-identity": scenario_timeline_in_identity,
    "wait": scenario_wait,
    "unstamped-row": scenario_unstamped_row,
    "replica-check": scenario_replica_check,
    "flushed-position": scenario_flushed_position,
    "quarantine": scenario_quarantine,
    "repair-names": scenario_repair,
    "repair": scenario_repair,
    "pending-bypass": scenario_pending_bypass,
}


@pytest.mark.parametrize("rule", SCENARIOS)
def test_with_the_rule_the_scenario_keeps_the_promises(world, rule):
    settled(world)
    SCENARIOS[rule](world)


@pytest.mark.parametrize("rule", SCENARIOS)
def test_without_the_rule_the_scenario_breaks_a_promise(world, monkeypatch, rule):
    without(world, monkeypatch, rule)
    settled(world)

    with pytest.raises(Broken):
        SCENARIOS[rule](world)
