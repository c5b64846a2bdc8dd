"""Load from wrk, on loopback, for a bounded time; and the servers that it is put on."""

import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
WARM_UP_S = 2
CONNECTIONS = 64
PATIENCE_S = 30
_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


@dataclass(frozen=True)
class Round:
    """What one run of wrk saw; times in milliseconds."""

    per_second: float
    p50: float
    p99: float
    errors: int


@dataclass(frozen=True)
class Target:
    """An address to put load on."""

    name: str
    url: str
    headers: dict[str, str]


def wrk(target: Target, *, seconds: int, connections: int = CONNECTIONS) -> Round:
    """Run wrk once.

    :raises SystemExit: it is not installed.
    """
    if shutil.which("wrk") is None:
        sys.exit("wrk is missing: sudo apt-get install wrk")
    headers = [word for name, value in target.headers.items() for word in ("-H", f"{name}: {value}")]
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", *headers, target.url]
    text = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + PATIENCE_S).stdout
    failed = sum(int(n) for n in re.findall(r"(?:connect|read|write|timeout) (\d+)", text))
    failed += sum(int(n) for n in re.findall(r"Non-2xx or 3xx responses: (\d+)", text))
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    if rate is None:
        raise RuntimeError(f"wrk said nothing of requests: {text}")
    return Round(float(rate[1]), _milliseconds(text, "50%"), _milliseconds(text, "99%"), failed)


def _milliseconds(text: str, percentile: str) -> float:
    found = re.search(rf"{percentile}\s+([\d.]+)(us|ms|s)", text)
    return float(found[1]) * _UNITS[found[2]] if found else float("nan")


def interleaved(targets: list[Target], *, rounds: int, seconds: int) -> dict[str, list[Round]]:
    """Warm up, then measure A B C A B C ..., so that a busy moment of the machine falls on all alike."""
    for target in targets:
        wrk(target, seconds=WARM_UP_S)
    found: dict[str, list[Round]] = {target.name: [] for target in targets}
    for number in range(rounds):
        for target in targets:
            found[target.name].append(wrk(target, seconds=seconds))
        print(f"  round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    return found


def median(rounds: list[Round], of: Callable[[Round], float]) -> float:
    return statistics.median(map(of, rounds))


def free_port() -> int:
    """Return a port of loopback that nobody uses."""
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        port: int = it.getsockname()[1]
        return port


@contextmanager
def gunicorn(application: str, environment: dict[str, str], *, workers: int = 1) -> Iterator[str]:
    """Serve an application with the project's own gunicorn configuration; yield its address."""
    port = free_port()
    settings = {
        **os.environ,
        **environment,
        "PORT": str(port),
        "GUNICORN_WORKERS": str(workers),
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "gunicorn", "-c", "config/gunicorn.conf.py", application]
    log = ROOT / "bench" / "results" / f"{application.partition(':')[0]}.log"
    log.parent.mkdir(exist_ok=True)
    with log.open("w") as output, subprocess.Popen(command, cwd=ROOT, env=settings, stdout=output, stderr=output) as it:
        url = f"http://127.0.0.1:{port}"
        try:
            _wait(url)
            yield url
        finally:
            it.terminate()
            it.wait(PATIENCE_S)


def _wait(url: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            urllib.request.urlopen(f"{url}/live/", timeout=1)  # noqa: S310 - our own address
        except urllib.error.HTTPError:
            return  # the bare application has no such view, but answers
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return
