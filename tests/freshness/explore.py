"""Explore the model of the freshness protocol: every interleaving of its steps, breadth first.

    python -m tests.freshness.explore                  with all rules: prints the number of states of each world
    python -m tests.freshness.explore --without NAME   without one rule: prints the shortest counterexample
    python -m tests.freshness.explore --mutations      without each rule in turn: each must give a counterexample

``make check-freshness-model`` runs all of it: with all rules about 34 million states, 20 minutes and 8 GB of memory
under PyPy, several times slower under CPython.
"""

from __future__ import annotations

import argparse
import sys
from collections import deque
from typing import NamedTuple

from tests.freshness.model import RULES, Broken, World, steps, world_of

MOST_STATES = 30_000_000
# Together they reach every pair of faults.
WORLDS = {
    "two writers, one reader, promotion": world_of(2, (3,), promotions=1),
    "one writer, two readers, promotion and crash": world_of(1, (2, 2), crashes=1, promotions=1),
    "one writer, two readers, promotion and cut": world_of(1, (2, 2), cuts=1, promotions=1),
    "one writer, two readers, cut and crash": world_of(1, (2, 2), cuts=1, crashes=1),
    "two writers, one reader, cut and crash": world_of(2, (3,), cuts=1, crashes=1),
    "two writers, two readers, no fault": world_of(2, (2, 2)),
    "one writer, two readers, crash and reset": world_of(1, (2, 2), resets=1, crashes=1),
    "two writers, one reader, crash and reset": world_of(2, (3,), resets=1, crashes=1),
    "two writers, one reader, cut and reset": world_of(2, (3,), resets=1, cuts=1),
    "one writer, two readers, cut and reset": world_of(1, (2, 2), resets=1, cuts=1),
    "two writers, two readers, cut": world_of(2, (2, 1), cuts=1),
}


class TooManyStates(Exception):
    """The world is too large to be explored."""


class Explored(NamedTuple):
    states: int
    counterexample: list | None


def explore(start: World, *, without: str | None = None) -> Explored:
    """Try every interleaving from a world on; stop at the shortest way to a broken promise.

    :raises TooManyStates: there are more than fit into memory.
    """
    rules = frozenset(RULES) - {without}
    parents: dict = {start: None}
    queue = deque([start])
    while queue:
        world = queue.popleft()
        try:
            for what, after in steps(world, rules):
                if after not in parents:
                    parents[after] = (world, what)
                    queue.append(after)
        except Broken as broken:
            return Explored(len(parents), [*_way_to(world, parents), str(broken)])
        if len(parents) > MOST_STATES:
            raise TooManyStates
    return Explored(len(parents), None)


def _way_to(world: World, parents: dict) -> list:
    way = []
    while parents[world]:
        world, what = parents[world]
        way.append(what)
    return way[::-1]


def check_protocol() -> bool:
    """Explore every world with all rules; print the states of each, and return whether the promises hold."""
    holds = True
    for name, start in WORLDS.items():
        states, counterexample = explore(start)
        print(f"{states:>9} states, {'BROKEN' if counterexample else 'holds'}: {name}", flush=True)
        if counterexample:
            print("  " + "\n  ".join(counterexample))
            holds = False
    return holds


def check_rule(rule: str, *, is_verbose: bool) -> bool:
    """Explore the worlds without a rule until one breaks a promise; return whether one does."""
    total = 0
    for name, start in WORLDS.items():
        states, counterexample = explore(start, without=rule)
        total += states
        if counterexample:
            print(f"{total:>9} states, without {rule}: broken, as it must be, in {name}", flush=True)
            if is_verbose:
                print("  " + "\n  ".join(counterexample))
            return True
    print(f"{total:>9} states, without {rule}: STILL HOLDS", flush=True)
    return False


def main() -> int:
    """Return 0 when the promises hold, or when each rule that was removed breaks one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--without", choices=RULES)
    parser.add_argument("--mutations", action="store_true")
    arguments = parser.parse_args()
    if arguments.without:
        return int(not check_rule(arguments.without, is_verbose=True))
    if arguments.mutations:
        return sum(not check_rule(rule, is_verbose=False) for rule in RULES)
    return int(not check_protocol())


if __name__ == "__main__":
    sys.exit(main())
