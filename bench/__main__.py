"""``make bench``: run the parts, print a table, keep the figures.

make bench                        everything
make bench only=lists rounds=7    one part
make bench only=start             from a fresh clone to the first answer
"""

import argparse
import json
import os
import platform
import sys
import time
from typing import Any

from bench import first_answer, lists, marking, place
from bench.load import ROOT

PARTS = {"lists": lists.measure, "marking": marking.measure}


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--only", choices=[*PARTS, "start"], help="this part alone")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4, help="how long a round of wrk takes")
    given = parser.parse_args()
    found: dict[str, Any] = {}
    if given.only in (None, "start"):
        found["start"] = first_answer.measure()
    wanted = {name: part for name, part in PARTS.items() if given.only in (None, name)}
    if wanted:
        seeded = place.make()
        try:
            for name, part in wanted.items():
                print(f"{name}:", file=sys.stderr, flush=True)
                found[name] = part(seeded, rounds=given.rounds, seconds=given.seconds)
        finally:
            seeded.stack.stop()
    _keep(found)


def _keep(found: dict[str, Any]) -> None:
    """Print the figures as tables and write them to ``bench/results``."""
    load = os.getloadavg()
    machine = {"python": platform.python_version(), "cores": os.cpu_count(), "load": load}
    results = ROOT / "bench" / "results"
    results.mkdir(exist_ok=True)
    file = results / f"{time.strftime('%Y-%m-%d-%H%M')}.json"
    file.write_text(json.dumps({"machine": machine, "figures": found}, indent=2) + "\n")
    for part, rows in found.items():
        columns = list(next(iter(rows.values())))
        print(f"\n| {part} | {' | '.join(columns)} |\n|{' --- |' * (len(columns) + 1)}")
        for name, figures in rows.items():
            print(f"| {name} | {' | '.join(str(figures[column]) for column in columns)} |")
    print(f"\n{machine['cores']} cores, load {load[0]:.1f}; kept in {file.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
