"""The application's own metrics, read from ``/metrics/`` of every API process."""

import re
from collections.abc import Iterable, Mapping

from devstack.http_client import new_client

_LINE = re.compile(r"^([a-z_]+(?:\{[^}]*\})?) ([0-9.eE+-]+)$", re.MULTILINE)


def read(text: str) -> dict[str, float]:
    """Parse Prometheus' text format: the value of each series."""
    return {name: float(value) for name, value in _LINE.findall(text)}


def metrics(apis: Iterable[str]) -> dict[str, float]:
    """Return the metrics, summed over all processes."""
    found: dict[str, float] = {}
    for url in apis:
        with new_client(url) as client:
            text = client.get("/metrics/").raise_for_status().text
        for name, value in read(text).items():
            found[name] = found.get(name, 0.0) + value
    return found


def grown(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """Return by how much each metric has grown."""
    return {name: value - before.get(name, 0.0) for name, value in after.items()}


def total(found: Mapping[str, float], name: str) -> float | None:
    """Return the sum of a counter over its labels; None where the application has no such counter."""
    of_name = [value for series, value in found.items() if series.partition("{")[0] == name]
    return sum(of_name) if of_name else None


def share(found: Mapping[str, float], part: str, rest: str) -> float | None:
    """Return the share of one counter in the sum of two; None where nothing was counted."""
    one, other = total(found, part), total(found, rest)
    together = (one or 0.0) + (other or 0.0)
    return round((one or 0.0) / together, 3) if together else None


def mean_ms(found: Mapping[str, float], histogram: str) -> float | None:
    """Return the mean of a histogram of seconds, in milliseconds."""
    seconds, count = total(found, f"{histogram}_sum"), total(found, f"{histogram}_count")
    return round(1000 * seconds / count, 2) if seconds is not None and count else None


def by_label(found: Mapping[str, float], name: str, label: str) -> str:
    """Return a counter's values by one of its labels, as text."""
    sums: dict[str, float] = {}
    for series, value in found.items():
        labelled = re.search(rf'[{{,]{label}="([^"]*)"', series)
        if series.partition("{")[0] == name and labelled:
            sums[labelled[1]] = sums.get(labelled[1], 0.0) + value
    return ", ".join(f"{value}: {n:.0f}" for value, n in sorted(sums.items()))
