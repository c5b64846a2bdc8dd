"""Load from wrk, on loopback, for a bounded time, the targets in turns.

A client in Python would be slower than the server that it measures.
"""

import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from devstack.http_client import new_client

ROOT = Path(__file__).parent.parent
WARM_UP_S = 2
CONNECTIONS = 64
PATIENCE_S = 30
SHOWN = 300  # characters of an unexpected response that are shown
_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}


@dataclass(frozen=True)
class Round:
    """The result of one run of wrk; times in milliseconds."""

    per_second: float
    p50: float
    p99: float
    errors: int


@dataclass(frozen=True)
class Target:
    """A URL to put load on.

    :param status: the expected status; checked once before the load, so that no error responses are measured.
    :param script: a Lua script of wrk that creates the requests, for what is not a plain GET.
    :param arguments: the arguments of the script.
    """

    name: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int = 200
    script: Path | None = None
    arguments: tuple[str, ...] = ()


def fetch(target: Target) -> httpx.Response:
    """Send one request, without wrk."""
    with new_client(headers=target.headers, patience_s=PATIENCE_S) as client:
        return client.get(target.url)


def check(target: Target) -> Target:
    """Request a plain target once before it is measured.

    :raises RuntimeError: the response has another status.
    """
    if target.script is None:
        response = fetch(target)
        if response.status_code != target.status:
            problem = f"{response.status_code} instead of {target.status}: {response.content[:SHOWN]!r}"
            raise RuntimeError(f"{target.name}: {problem}")
    return target


def wrk(target: Target, *, seconds: int, connections: int = CONNECTIONS, threads: int = 1) -> Round:
    """Run wrk once; 4xx, 5xx and connection failures count as errors."""
    return read(run_wrk(target, seconds=seconds, connections=connections, threads=threads))


def read(text: str) -> Round:
    """Parse the output of wrk."""
    failed = sum(int(n) for n in re.findall(r"(?:connect|read|write|timeout) (\d+)", text))
    failed += sum(int(n) for n in re.findall(r"Non-2xx or 3xx responses: (\d+)", text))
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    if rate is None:
        raise RuntimeError(f"wrk printed no requests: {text}")
    return Round(float(rate[1]), _milliseconds(text, "50%"), _milliseconds(text, "99%"), failed)


def run_wrk(target: Target, *, seconds: int, connections: int, threads: int) -> str:
    """Run wrk once and return its output.

    :raises SystemExit: it is not installed.
    """
    if shutil.which("wrk") is None:
        sys.exit("wrk is missing: sudo apt-get install wrk")
    headers = [word for name, value in target.headers.items() for word in ("-H", f"{name}: {value}")]
    script = ["-s", str(target.script)] if target.script else []
    arguments = ["--", *target.arguments] if target.arguments else []
    command = ["wrk", f"-t{threads}", f"-c{connections}", f"-d{seconds}s", "--latency"]
    command += [*headers, *script, target.url, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + PATIENCE_S).stdout


def _milliseconds(text: str, percentile: str) -> float:
    found = re.search(rf"{percentile}\s+([\d.]+)(us|ms|s|m)\b", text)
    return float(found[1]) * _UNITS[found[2]] if found else float("nan")


def interleaved(targets: Sequence[Target], *, rounds: int, seconds: int) -> dict[str, list[Round]]:
    """Warm up, then measure A B C A B C ..., so that a busy moment of the machine affects all targets alike."""
    for target in targets:
        wrk(check(target), seconds=WARM_UP_S)
    found: dict[str, list[Round]] = {target.name: [] for target in targets}
    for number in range(rounds):
        for target in targets:
            found[target.name].append(wrk(target, seconds=seconds))
        print(f"  round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    return found


def median(rounds: Sequence[Round], of: Callable[[Round], float]) -> float:
    return statistics.median(map(of, rounds))


def rate(rounds: Sequence[Round]) -> float:
    return median(rounds, lambda r: r.per_second)


def rows(found: Mapping[str, Sequence[Round]], *, against: str) -> dict[str, Any]:
    """Return the table of a part: a line for each target, with its throughput relative to ``against``."""
    ceiling = rate(found[against])
    return {name: _row(rounds, against, ceiling) for name, rounds in found.items()}


def _row(rounds: Sequence[Round], against: str, ceiling: float) -> dict[str, Any]:
    p50, p99 = median(rounds, lambda r: r.p50), median(rounds, lambda r: r.p99)
    return {
        f"share of {against}": round(rate(rounds) / ceiling, 3),
        "requests/s": round(rate(rounds), 1),
        "spread": f"{min(r.per_second for r in rounds):.0f} to {max(r.per_second for r in rounds):.0f}",
        "p50 ms": round(p50, 2),
        "p99 ms": round(p99, 2),
        "p99/p50": round(p99 / p50, 1),
        "errors": sum(r.errors for r in rounds),
    }
