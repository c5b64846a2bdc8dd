"""``make bench``: run the parts, print tables and one page of targets, save the figures.

make bench                        everything but the peers
make bench only=lists rounds=7    one part; several with commas between
make bench peers=1                everything
make bench only=start             from a fresh clone to the first response
make bench only=jobs              background jobs: throughput and start delay
make bench only=rollups           what rollups save and cost
make bench only=months            months created, archived and restored under load
make bench only=policies          what row-level security costs, in two forms
make bench only=at-risk           the list of students at risk of 10,000
make bench only=values            what memoized values save and cost
make bench only=signing-in        whether response times reveal known users, and 200 sign-ins at once
"""

import argparse
import os
import sys
from collections.abc import Callable
from typing import Any

from bench import (
    at_risk,
    cached,
    chain,
    dataset,
    first_answer,
    jobs,
    large,
    lists,
    marking,
    mixed,
    months,
    operators,
    peers,
    policies,
    report,
    reports,
    rollups,
    signing_in,
    values,
    writes,
)
from devstack import interruption

START = "start"
PEERS = "peers"
# On the primary only, one worker each.
PARTS: dict[str, Callable[..., dict[str, Any]]] = {
    "lists": lists.measure,
    "cached": cached.measure,
    "chain": chain.measure,
    "writes": writes.measure,
    "marking": marking.measure,
    "large": large.measure,
    "reports": reports.measure,
    "rollups": rollups.measure,
    PEERS: peers.measure,
}
# On the production shape of ``make stack``.
WHOLE: dict[str, Callable[..., dict[str, Any]]] = {"mixed": mixed.measure, "operator": operators.measure}
# Each on its own small stack.
OWN: dict[str, Callable[..., dict[str, Any]]] = {
    "signing-in": signing_in.measure,
    "jobs": jobs.measure,
    "months": months.measure,
    "policies": policies.measure,
    "values": values.measure,
    "at-risk": at_risk.measure,
}
EVERY = (START, *OWN, *PARTS, *WHOLE)


def main() -> None:
    """Run the selected parts."""
    parser = argparse.ArgumentParser(
        prog="make bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help=f"only these parts: {', '.join(EVERY)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4, help="how long a round of wrk takes")
    parser.add_argument("--peers", action="store_true", help="also measure peers; installs them")
    args = parser.parse_args()
    only = [name for name in args.only.split(",") if name]
    if unknown := set(only) - set(EVERY):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(EVERY)}")
    wanted = only or [name for name in EVERY if name != PEERS or args.peers]
    interruption.listen()  # the first signal stops every server on exit; later ones change nothing
    load_before = os.getloadavg()[0]
    found: dict[str, dict[str, Any]] = {}
    try:
        _run(wanted, found, rounds=args.rounds, seconds=args.seconds)
    except interruption.Interrupted:
        sys.exit("interrupted")
    finally:
        if found:
            report.save(found, load_before=load_before)  # also what was measured before a part failed


def _run(wanted: list[str], found: dict[str, dict[str, Any]], *, rounds: int, seconds: int) -> None:
    if START in wanted:
        found[START] = first_answer.measure()
    for name, measure in OWN.items():
        if name in wanted:
            print(f"{name}:", file=sys.stderr, flush=True)
            found[name] = measure(rounds=rounds, seconds=seconds)
    for parts, whole in ((PARTS, False), (WHOLE, True)):
        names = [name for name in parts if name in wanted]
        if not names:
            continue
        with dataset.filled(whole=whole) as filled:
            for name in names:
                print(f"{name}:", file=sys.stderr, flush=True)
                found[name] = parts[name](filled, rounds=rounds, seconds=seconds)


if __name__ == "__main__":
    main()
