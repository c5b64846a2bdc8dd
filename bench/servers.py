"""The servers that load is put on: each in its own process, with its output in a log under ``bench/results``."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from bench.load import PATIENCE_S, ROOT
from devstack import ports
from devstack.http_client import status_of
from devstack.nginx import Nginx
from devstack.workspace import Workspace

RESULTS = ROOT / "bench" / "results"
BARE = "bare Flask"

# Limits that are counted and never reached.
UNLIMITED = {
    "RATE_LIMIT_ANONYMOUS": "9999999/hour",
    "RATE_LIMIT_BURST": "1000000",
    "RATE_LIMIT_LOGIN": "9999999/minute",
    "RATE_LIMIT_LOGIN_ADDRESS": "9999999/minute",
    "RATE_LIMIT_RPM": "1000000",
    "RATE_LIMIT_USER": "9999999/hour",
}
# Settings of every server of a benchmark: also tokens that outlast the run, and workers that are not replaced in the
# middle of it (a connection that waits for a new worker would count as an error).
FOR_BENCH = {**UNLIMITED, "ACCESS_TOKEN_MINUTES": "1440", "GUNICORN_MAX_REQUESTS": "0"}
# No cached responses: the cost of a first read.
UNCACHED = {"CACHE_TTL_DATA": "0", "CACHE_TTL_ANALYTICS": "0", "CACHE_TTL_STATISTICS": "0"}
# No process memory: each response comes from Redis.
REDIS_ONLY = {"CACHE_MEMORY_MB": "0"}
NGINX_RATE = "1000000r/s"


@contextmanager
def gunicorn(application: str, environment: Mapping[str, str], *, workers: int = 1, name: str = "") -> Iterator[str]:
    """Serve an application with the project's own gunicorn configuration, as production does; yield its URL."""
    port = ports.unused()
    with tempfile.TemporaryDirectory(prefix="campshub-bench-") as folder:
        settings = {
            **FOR_BENCH,
            **environment,
            "PORT": str(port),
            "GUNICORN_WORKERS": str(workers),
            "PROMETHEUS_MULTIPROC_DIR": folder,
            "PYTHONPATH": str(ROOT),
        }
        command = [sys.executable, "-m", "gunicorn", "-c", "config/gunicorn.conf.py", application]
        with server(command, settings, port=port, name=name or application.partition(":")[0]) as url:
            yield url


@contextmanager
def server(
    command: Sequence[str], environment: Mapping[str, str], *, port: int, name: str, folder: Path = ROOT
) -> Iterator[str]:
    """Run a server until the block ends; yield its URL once it responds."""
    RESULTS.mkdir(exist_ok=True)
    with (
        (RESULTS / f"{name}.log").open("w") as output,
        subprocess.Popen(
            command, cwd=folder, env={**os.environ, **environment}, stdout=output, stderr=output, start_new_session=True
        ) as it,
    ):
        url = f"http://127.0.0.1:{port}"
        try:
            _wait(it, url, name)
            yield url
        finally:
            it.terminate()
            try:
                it.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                os.killpg(it.pid, signal.SIGKILL)


def _wait(it: subprocess.Popen[bytes], url: str, name: str) -> None:
    """Wait until the server responds; a 404 is a response.

    :raises RuntimeError: it has ended.
    :raises TimeoutError: it does not respond in time.
    """
    deadline = time.monotonic() + PATIENCE_S
    while status_of(url, "/live/", patience_s=1) is None:
        if it.poll() is not None:
            raise RuntimeError(f"{name} has ended: see bench/results/{name}.log")
        if time.monotonic() > deadline:
            raise TimeoutError(f"{name} does not respond: see bench/results/{name}.log")
        time.sleep(0.1)


@dataclass(frozen=True)
class _Upstream:
    """What nginx needs to know of an API process: its port."""

    port: int


@contextmanager
def nginx(workspace: Workspace, upstream: str) -> Iterator[str]:
    """Put the project's nginx before a server, with limits that are never reached; yield its URL."""
    it = Nginx(workspace, [_Upstream(urlsplit(upstream).port)], port=ports.unused(), rate=NGINX_RATE)
    it.start()
    try:
        yield it.url
    finally:
        it.stop()
