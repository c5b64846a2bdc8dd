"""The commands that an operator would run, on the production shape: ab and wrk on the list of students."""

import re
import shutil
import subprocess
import sys
from typing import Any

from bench import load
from bench.dataset import Dataset
from bench.servers import RESULTS

PATH = "/api/students/"
AB = ("-n", "10000", "-c", "100")
WRK = {"threads": 12, "connections": 400, "seconds": 30}
PATIENCE_S = 600


def measure(dataset: Dataset, *, rounds: int, seconds: int) -> dict[str, Any]:  # noqa: ARG001 - the commands have fixed durations
    """Run both; return their figures. Their output is stored beside the results."""
    url = dataset.stack.nginx.url
    headers = dataset.headers(url)
    target = load.check(load.Target("wrk", f"{url}{PATH}", headers))
    return {"ab -n 10000 -c 100": _ab(target), "wrk -t12 -c400 -d30s": _wrk(target)}


def _wrk(target: load.Target) -> dict[str, Any]:
    text = load.run_wrk(target, **WRK)
    (RESULTS / "operator-wrk.txt").write_text(text)
    one = load.read(text)
    return {"requests/s": round(one.per_second, 1), "p50 ms": one.p50, "p99 ms": one.p99, "errors": one.errors}


def _ab(target: load.Target) -> dict[str, Any]:
    """Run ab.

    :raises SystemExit: it is not installed.
    """
    if shutil.which("ab") is None:
        sys.exit("ab is missing: sudo apt-get install apache2-utils")
    headers = [word for name, value in target.headers.items() for word in ("-H", f"{name}: {value}")]
    command = ["ab", "-q", *AB, *headers, target.url]
    text = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE_S).stdout
    (RESULTS / "operator-ab.txt").write_text(text)
    refused = re.search(r"Non-2xx responses:\s+(\d+)", text)
    return {
        "requests/s": _number(r"Requests per second:\s+([\d.]+)", text),
        "p50 ms": _number(r"\s50%\s+(\d+)", text),
        "p99 ms": _number(r"\s99%\s+(\d+)", text),
        "errors": int(_number(r"Failed requests:\s+(\d+)", text)) + (int(refused[1]) if refused else 0),
    }


def _number(pattern: str, text: str) -> float:
    found = re.search(pattern, text)
    if found is None:
        raise RuntimeError(f"ab did not print {pattern}: {text}")
    return float(found[1])
