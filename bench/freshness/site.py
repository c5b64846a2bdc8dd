"""The stack of a run: primary, replica, poolers, Redis, nginx, and API processes, each with its own relay to Redis."""

import functools
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import psycopg

from bench.freshness.client import Outage, Server
from bench.freshness.relay import Relays
from bench.freshness.rows import Row
from bench.servers import UNLIMITED
from devstack.api import Api
from devstack.http_client import new_client
from devstack.ports import LOOPBACK
from devstack.stack import Stack
from devstack.workspace import REPOSITORY

PROCESSES = 3
SETTINGS = {
    **UNLIMITED,
    "PASSWORD_COST": "4",
    "ACCESS_TOKEN_MINUTES": "600",
    "LOG_LEVEL": "WARNING",
    "GUNICORN_MAX_REQUESTS": "0",  # a recycled worker would look like a killed one
    "FLASK_APP": "wsgi.py",
}
HEALTHY_WITHIN_S = 60.0
APPLICATION = "wsgi:app"


class Site:
    """One stack in a folder, started for the checker."""

    def __init__(self, directory: Path) -> None:
        self.stack = Stack(directory, nginx=True, api=PROCESSES, workers=1, durable=False, nginx_rate="100000r/s")
        self.relays: Relays | None = None
        self.primary = Outage()
        self.servers: list[Server] = []

    @property
    def processes(self) -> list[Server]:
        """Return the entry points of the single API processes."""
        return self.servers[:-1]

    def start(self, application: str = APPLICATION) -> None:
        """Start everything, migrate, and serve an application."""
        self.stack.stop()
        self.stack.start_data()
        self._run("-m", "flask", "db", "upgrade")
        self.relays = Relays(self.stack.cache.port, PROCESSES)
        for number, api in enumerate(self.stack.apis):
            api.settings = functools.partial(self._settings, self.relays.ports[number])
        self.serve(application)

    def serve(self, application: str) -> None:
        """Start the API processes with an application instead of the current one."""
        for api in self.stack.apis:
            api.kill()  # an orderly stop waits for persistent connections
            api.application = application
        self.stack.start_api()
        everything = [*self.stack.apis, self.stack.part("nginx")]
        self.servers = [Server(part.name, part.port) for part in everything]

    def stop(self) -> None:
        """Stop everything."""
        self.stack.stop()
        if self.relays is not None:
            self.relays.end()

    def create_users(self, organizations: int) -> list[dict[str, Any]]:
        """Create organizations with their users."""
        output = self._run("-m", "bench.freshness.users", str(organizations))
        made: list[dict[str, Any]] = json.loads(output.splitlines()[-1])  # log lines may precede it
        return made

    def truth(self, row: Row) -> tuple[int, int] | None:
        """Return version and counter of a row in the primary; None while it is unavailable."""
        try:
            ((version, shown),) = self.stack.primary.query(*row.truth, database=self.stack.database)
        except psycopg.OperationalError:
            return None
        return version, row.counter(shown)

    def metrics_of(self, server: Server) -> str:
        """Return the Prometheus metrics of a process; empty while it does not respond."""
        status, _, text = self._get(server, "/metrics/").partition(" ")
        return text if status == "200" else ""

    def wait_until_healthy(self) -> None:
        """Wait until every process reports all its required parts healthy.

        :raises TimeoutError: they are not, in time.
        """
        deadline = time.monotonic() + HEALTHY_WITHIN_S
        for server in self.processes:
            while not (health := self._get(server, "/health/")).startswith("200 "):
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{server.name} is not healthy again: {health}")
                time.sleep(0.1)

    def cut(self, number: int, action: str) -> None:
        """Close, hold or open the connection of one process to Redis."""
        if self.relays is None:
            raise RuntimeError("the site has not been started")
        self.relays.set_state(number, action)

    def api(self, number: int) -> Api:
        """Return one of the API processes."""
        return self.stack.apis[number]

    def _settings(self, port: int) -> Mapping[str, str]:
        redis_url = self.stack.cache.url.replace(f":{self.stack.cache.port}/", f":{port}/")
        return {**self.stack.environment(), **SETTINGS, "REDIS_URL": redis_url}

    def _run(self, *arguments: str) -> str:
        environment = {**os.environ, **self.stack.environment(), **SETTINGS}
        command = [sys.executable, *arguments]
        return subprocess.run(
            command, cwd=REPOSITORY, env=environment, check=True, stdout=subprocess.PIPE, text=True
        ).stdout

    @staticmethod
    def _get(server: Server, path: str) -> str:
        """Return the status and the body of a response, or why there is none."""
        try:
            with new_client(f"http://{LOOPBACK}:{server.port}", patience_s=5) as client:
                response = client.get(path)
        except httpx.TransportError as error:
            return repr(error)
        return f"{response.status_code} {response.text}"
