"""Check freshness on the real stack: writers and readers, one fault repeatedly, a verdict on every read.

python -m bench.freshness --fault redis-emptied --seconds 300 --writes 10000

Exits with 1 when a guarantee was broken.
"""

import argparse
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from bench.freshness import report
from bench.freshness.faults import FAULTS
from bench.freshness.ledger import Ledger
from bench.freshness.run import Plan, Run, make_worlds
from bench.freshness.site import APPLICATION, Site
from devstack import interruption
from devstack.workspace import REPOSITORY


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.freshness", description=__doc__)
    parser.add_argument("--fault", choices=[*FAULTS, "all"], default="all")
    parser.add_argument("--seconds", type=float, default=300, help="for each fault, at least")
    parser.add_argument("--writes", type=int, default=10_000, help="acknowledged for each fault, at least")
    parser.add_argument("--rounds", type=int, default=2, help="of the fault, at least")
    parser.add_argument("--rate", type=float, help="writes per second; default: from seconds and writes")
    parser.add_argument("--readers", type=int, default=6)
    parser.add_argument("--hold", type=float, help="how long each fault lasts, in seconds")
    parser.add_argument("--quiet", type=float, help="how long it is quiet before each fault, in seconds")
    parser.add_argument("--app", default=APPLICATION, metavar="MODULE:app", help="what the API processes serve")
    args = parser.parse_args()
    rate = args.rate or (args.writes / args.seconds if args.seconds else 40.0)
    site = Site(Path(os.environ.get("DEVSTACK_DIR", REPOSITORY / ".devstack")) / "freshness")
    names = list(FAULTS) if args.fault == "all" else [args.fault]
    plans = {
        name: Plan(
            FAULTS[name],
            args.seconds,
            args.writes,
            rounds=args.rounds,
            a_second=rate,
            readers=args.readers,
            hold_s=args.hold,
            quiet_s=args.quiet,
        )
        for name in names
    }
    return interruption.run(lambda: check(site, plans, args.app), site.stop, interrupted=1)


def check(site: Site, plans: Mapping[str, Plan], application: str) -> int:
    """Carry out the plans one after the other, print the findings of each, and return the exit code."""
    failed = []
    site.start(application)
    ledger = Ledger()
    worlds = make_worlds(site, ledger)
    for name, plan in plans.items():
        found = Run(site, ledger, worlds, plan).run()
        print("\n".join(report.lines(found)), flush=True)
        if report.broken(found):
            failed.append(name)
    if failed:
        print(f"broken under: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
