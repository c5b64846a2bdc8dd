"""What a run writes: the figures as JSON, as a table, and as a chart of the shares of a bare view."""

import json
import os
import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl

from bench import targets
from bench.load import ROOT
from bench.servers import RESULTS

mpl.use("svg")

from matplotlib import pyplot as plt

BAR_INCHES = 0.3


def save(found: targets.Found, *, load_before: float) -> None:
    """Write ``bench/results/<date>.json``, ``.md`` and ``.svg``, and print the tables and the page of targets."""
    RESULTS.mkdir(exist_ok=True)
    name = RESULTS / time.strftime("%Y-%m-%d-%H%M")
    machine = _machine(load_before)
    name.with_suffix(".json").write_text(json.dumps({"machine": machine, "figures": found}, indent=2) + "\n")
    page = targets.page(found)
    lines = [f"# Benchmark of {machine['at']}", "", machine["description"]]
    for part, rows in found.items():
        lines += ["", f"## {part}", "", *table(rows)]
    lines += ["", "## Targets", "", "```", *page, "```"]
    name.with_suffix(".md").write_text("\n".join(lines) + "\n")
    suffixes = [".json", ".md"] + ([".svg"] if _draw(found, name.with_suffix(".svg")) else [])
    print("\n".join(lines[2:]))
    print(f"\nsaved as {name.relative_to(ROOT)}: {' '.join(suffixes)}")


def _machine(load_before: float) -> dict[str, Any]:
    cores, load = os.cpu_count(), os.getloadavg()[0]
    description = f"{cores} cores; load {load_before:.1f} before, {load:.1f} after; Python {platform.python_version()}"
    return {
        "at": time.strftime("%Y-%m-%d %H:%M"),
        "cores": cores,
        "load": [load_before, load],
        "description": description,
    }


def table(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return a Markdown table; a figure that a row does not have is left blank."""
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    lines = [f"| | {' | '.join(columns)} |", f"|{' --- |' * (len(columns) + 1)}"]
    for name, row in rows.items():
        cells = ("" if row.get(column) is None else str(row[column]) for column in columns)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def _draw(found: targets.Found, file: Path) -> bool:
    """Draw the shares of a bare view, with their targets as marks; return whether there was anything to draw."""
    shares = {
        (part, name): row[targets.SHARE]
        for part, rows in found.items()
        for name, row in rows.items()
        if targets.SHARE in row
    }
    if not shares:
        return False
    bounds = {(target.part, target.row): target.bound for target in targets.TARGETS if target.column == targets.SHARE}
    figure, axes = plt.subplots(figsize=(9, 1.2 + BAR_INCHES * len(shares)), layout="constrained")
    positions = range(len(shares))
    axes.barh(positions, shares.values(), color="#4878a8")
    axes.set_yticks(positions, [f"{part}: {name}" for part, name in shares], fontsize=7)
    axes.invert_yaxis()
    for position, key in enumerate(shares):
        axes.text(shares[key], position, f" {shares[key]:.2f}", va="center", fontsize=7)
        if key in bounds:
            axes.plot([bounds[key]] * 2, [position - 0.45, position + 0.45], color="#c03030", linewidth=2)
    axes.set_xlabel("requests a second, as a share of a bare Flask view in the same run (red: the target)", fontsize=8)
    figure.savefig(file)
    plt.close(figure)
    return True
