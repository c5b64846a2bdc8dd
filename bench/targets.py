"""The targets, and the distance of each figure from its target: one page at the end of a run."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench import cached, chain, large, lists, marking, mixed, months, peers, rollups, signing_in, writes
from bench.servers import BARE

Found = Mapping[str, Mapping[str, Mapping[str, Any]]]

SHARE = f"share of {BARE}"
STARVATION = 6  # p99 over p50 at 64 connections stays under it, on every route
# Rows for comparison only: they have no target.
THEIRS = (BARE, lists.NAIVE, writes.NAIVE, peers.WGER, peers.WGER_CACHED, peers.FASTAPI, peers.LITESTAR)


@dataclass(frozen=True)
class Target:
    """One target: a figure of a part, and its bound."""

    what: str
    part: str
    row: str
    column: str
    bound: float
    is_most: bool = False
    strictly: bool = False

    def met_by(self, figure: float) -> bool:
        """Return whether a figure meets the target."""
        if figure == self.bound:
            return not self.strictly
        return (figure < self.bound) is self.is_most


_WHOLE_LIST = f"whole chain, {lists.LIST}"
_MIXED = next(iter(mixed.RUNS))
TARGETS = (
    Target("cached list, process memory", "cached", f"{lists.LIST}, {cached.MEMORY}", SHARE, 0.60),
    Target("cached list, Redis", "cached", f"{lists.LIST}, {cached.REDIS}", SHARE, 0.50),
    Target("uncached list of 50, no chain", "lists", f"no chain, {lists.LIST}", SHARE, 0.30),
    Target("uncached list of 50, whole chain", "lists", _WHOLE_LIST, SHARE, 0.22),
    Target("the same, times naive ORM + marshmallow", "lists", _WHOLE_LIST, "times naive", 2.5),
    Target("the same, times wger's list", "peers", peers.WGER, "ours against it", 10),
    Target("one student, uncached, whole chain", "lists", f"whole chain, {lists.ITEM}", SHARE, 0.27),
    Target("create a student, against naive create", "writes", writes.WHOLE, f"share of {writes.NAIVE}", 0.9),
    Target(
        "register of 1,000, times ORM objects with a query a row",
        *("marking", f"{marking.BY_ROW}, {marking.TIMES[0]}", "times ours", 8),
    ),
    Target(
        "register of 1,000, times ORM objects read at once",
        *("marking", f"{marking.BY_OBJECTS}, {marking.TIMES[0]}", "times ours", 8),
    ),
    Target("304 against the cached 200, list", "cached", f"{lists.LIST}, {cached.NOT_MODIFIED}", "times the 200", 1.0),
    Target("304 against the cached 200, item", "cached", f"{lists.ITEM}, {cached.NOT_MODIFIED}", "times the 200", 1.0),
    Target("the chain's own cost, signed in, us", "chain", chain.SIGNED_IN, "us over bare", 120, True, True),
    Target("mixed: hit rate", "mixed", _MIXED, "hit rate", 0.85, strictly=True),
    Target("mixed: error rate", "mixed", _MIXED, "error rate", 0.001, True, True),
    Target("mixed: p95, ms", "mixed", _MIXED, "p95 ms", 200, True, True),
    Target("mixed: mean SQL, ms", "mixed", _MIXED, "mean SQL ms", 100, True, True),
    *(Target(f"mixed, {run}: stale reads", "mixed", run, "stale reads", 0, True) for run in mixed.RUNS),
    Target("a month's figures from a rollup, times raw rows", "rollups", rollups.GROUP_MONTH, "times", 10),
    Target("sign-ins: furthest median from the first, %", "signing-in", signing_in.FURTHEST, "off %", 10, True),
    Target(
        "200 sign-ins at once: a reader's p99, times idle", "signing-in", signing_in.ALL_WAIT, "times idle p99", 3, True
    ),
    *(
        Target(f"months come and go: {who}, {column}", "months", who, column, bound, True)
        for who in (months.READERS, months.WRITER)
        for column, bound in ((months.LONGEST, 2), ("errors", 0))
    ),
    Target("5 million records, uncached: list of students, p50 ms", "large", large.STUDENTS, "p50 ms", 25, True),
    Target("5 million records, uncached: attendance of a day, p50 ms", "large", large.DAY, "p50 ms", 15, True),
    *(
        Target(f"5 million records, uncached: analytics, {what}, p50 ms", "large", what, "p50 ms", 50, True)
        for what in large.ANALYTICS
    ),
)


def page(found: Found) -> list[str]:
    """Return a line for each target whose part has run: the figure, the target, and whether it is met."""
    lines = [
        _line(target, found[target.part].get(target.row, {}).get(target.column))
        for target in TARGETS
        if target.part in found
    ]
    for part, rows in found.items():
        lines += [
            f"{'MISSED':8}{part}: {name}: p99/p50 {row['p99/p50']}, target under {STARVATION}"
            for name, row in rows.items()
            if row.get("p99/p50", 0) >= STARVATION and not name.startswith(THEIRS)
        ]
        lines += [f"{'ERRORS':8}{part}: {name}: {row['errors']}" for name, row in rows.items() if row.get("errors")]
    return lines


def _line(target: Target, figure: float | None) -> str:
    words = {(False, False): "", (False, True): "over ", (True, False): "at most ", (True, True): "under "}
    bound = f"target {words[target.is_most, target.strictly]}{target.bound:g}"
    if figure is None:
        return f"{'NONE':8}{target.what}: not measured, {bound}"
    return f"{'met' if target.met_by(figure) else 'MISSED':8}{target.what}: {figure:g}, {bound}"
