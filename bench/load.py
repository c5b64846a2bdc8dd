"""Load from wrk, on loopback, for a bounded time, the targets in turns."""

import re
import shutil
import statistics
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
WARM_UP_S = 2
CONNECTIONS = 64
PATIENCE_S = 30
SHOWN = 300  # of an answer that was not expected, so many characters
_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}


@dataclass(frozen=True)
class Round:
    """What one run of wrk saw; times in milliseconds."""

    per_second: float
    p50: float
    p99: float
    errors: int


@dataclass(frozen=True)
class Target:
    """An address to put load on.

    :param status: what it must answer; asked once before the load, so that nobody measures how fast a refusal is.
    :param script: a Lua script of wrk that makes the requests, for what is not a plain GET.
    :param given: the script's arguments.
    """

    name: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int = 200
    script: Path | None = None
    given: tuple[str, ...] = ()


def ask(target: Target) -> tuple[int, Mapping[str, str], bytes]:
    """Ask once; return status, headers and body."""
    request = urllib.request.Request(target.url, headers=dict(target.headers))  # noqa: S310 - our own address
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:  # noqa: S310 - our own address
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:  # a refusal, and a 304 as well
        with error:
            return error.code, error.headers, error.read()


def insist(target: Target) -> Target:
    """Ask a plain target once before it is measured.

    :raises RuntimeError: the answer has another status.
    """
    if target.script is None:
        status, _, body = ask(target)
        if status != target.status:
            raise RuntimeError(f"{target.name}: {status} instead of {target.status}: {body[:SHOWN]!r}")
    return target


def wrk(target: Target, *, seconds: int, connections: int = CONNECTIONS, threads: int = 1) -> Round:
    """Run wrk once; refusals (4xx, 5xx) and failures of the connection are errors."""
    return read(say(target, seconds=seconds, connections=connections, threads=threads))


def read(text: str) -> Round:
    """Read what wrk has printed."""
    failed = sum(int(n) for n in re.findall(r"(?:connect|read|write|timeout) (\d+)", text))
    failed += sum(int(n) for n in re.findall(r"Non-2xx or 3xx responses: (\d+)", text))
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    if rate is None:
        raise RuntimeError(f"wrk said nothing of requests: {text}")
    return Round(float(rate[1]), _milliseconds(text, "50%"), _milliseconds(text, "99%"), failed)


def say(target: Target, *, seconds: int, connections: int, threads: int) -> str:
    """Run wrk once and return what it prints.

    :raises SystemExit: it is not installed.
    """
    if shutil.which("wrk") is None:
        sys.exit("wrk is missing: sudo apt-get install wrk")
    words = [word for name, value in target.headers.items() for word in ("-H", f"{name}: {value}")]
    script = ["-s", str(target.script)] if target.script else []
    given = ["--", *target.given] if target.given else []
    command = ["wrk", f"-t{threads}", f"-c{connections}", f"-d{seconds}s", "--latency"]
    command += [*words, *script, target.url, *given]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + PATIENCE_S).stdout


def _milliseconds(text: str, percentile: str) -> float:
    found = re.search(rf"{percentile}\s+([\d.]+)(us|ms|s|m)\b", text)
    return float(found[1]) * _UNITS[found[2]] if found else float("nan")


def interleaved(targets: Sequence[Target], *, rounds: int, seconds: int) -> dict[str, list[Round]]:
    """Warm up, then measure A B C A B C ..., so that a busy moment of the machine falls on all alike."""
    for target in targets:
        wrk(insist(target), seconds=WARM_UP_S)
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
    """Return the table of a part: a line for each target, its throughput beside that of ``against``."""
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
