"""Separate stacks for these tests, in their own folders: the tests kill parts and read files."""

import contextlib
import json
import os
import shutil
import socket
import socketserver
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from unittest import mock

import psutil
import pytest

from bench.servers import UNLIMITED
from campshub.app import create_app
from campshub.core.security.permissions import Role
from devstack import workspace
from devstack.nginx import Nginx
from devstack.stack import Stack
from tests.conftest import close, migrate, new_tenant, settings_of
from tests.stack.http_client import fetch

PANEL = "https://panel.example.org"


@contextlib.contextmanager
def stack_in(folder, **shape):
    """Yield a stack; remove everything of it afterwards."""
    stack = Stack(folder, **shape)
    try:
        yield stack
    finally:
        stack.stop()
        shutil.rmtree(stack.workspace.runtime, ignore_errors=True)


def processes_of(here) -> list[str]:
    """Return all processes whose arguments or working folder are in a stack's folders."""
    folders = {str(here.directory), str(here.runtime)}
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            arguments = [*process.cmdline(), process.cwd()]
            ended = process.status() == psutil.STATUS_ZOMBIE
            if not ended and any(folder in argument for folder in folders for argument in arguments):
                found.append(f"{process.pid} {arguments}")
    return found


def log_lines(path) -> list[dict]:
    """Return the lines of a log that are JSON; every line of nginx's access log must be."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines if path.name == "access.log" or line.startswith("{")]


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """nginx before two API processes, PgBouncer and the migrated database."""
    folder = tmp_path_factory.mktemp("site")
    with (
        mock.patch.dict(os.environ, {**UNLIMITED, "CORS_ORIGINS": PANEL}),  # the API processes inherit it
        stack_in(folder, replica=False, nginx=True, api=2, workers=1, durable=False, nginx_rate="9000r/s") as stack,
    ):
        stack.start_data()
        migrate(settings_of(stack, stack.database))
        stack.start_api()
        yield stack


@pytest.fixture(scope="session")
def admin(site) -> dict[str, str]:
    """The headers of an organization's admin."""
    app = create_app(settings_of(site, site.database))
    yield new_tenant(app).the(Role.ADMIN).headers
    close(app)


@contextlib.contextmanager
def nginx_in(folder, *ports: int, rate: str = "100r/s"):
    """An nginx before servers on some ports, with its own rate limit."""
    here = workspace.make(folder)
    nginx = Nginx(here, [SimpleNamespace(port=port) for port in ports], port=None, rate=rate)
    try:
        nginx.start()
        yield nginx
    finally:
        nginx.stop()
        shutil.rmtree(here.runtime, ignore_errors=True)


@pytest.fixture
def nginx_before(tmp_path_factory):
    """Return a factory of further nginx servers."""
    with contextlib.ExitStack() as made:
        yield lambda *ports, **options: made.enter_context(
            nginx_in(tmp_path_factory.mktemp("nginx"), *ports, **options)
        )


@contextlib.contextmanager
def silent_server():
    """A server that accepts connections and never responds; yields its port."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        yield silent.getsockname()[1]


@contextlib.contextmanager
def responding_server():
    """A server that responds to each request with 200; yields its port."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            while self.rfile.readline().strip():
                pass
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nOK")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.fixture(scope="session", autouse=True)
def late_response(tmp_path_factory):
    """Send a request early that takes nginx's whole read timeout; a later test reads the response."""
    with (
        ThreadPoolExecutor(1) as pool,
        silent_server() as silent,
        nginx_in(tmp_path_factory.mktemp("late"), silent) as nginx,
    ):
        yield pool.submit(fetch, nginx.url, "/live/")


@pytest.fixture(scope="session", autouse=True)
def late_reads(tmp_path_factory):
    """Send reads to a server that never responds and one that does; a later test reads the responses and the log."""
    with (
        ThreadPoolExecutor(2) as pool,
        silent_server() as silent,
        responding_server() as responding,
        nginx_in(tmp_path_factory.mktemp("late-reads"), silent, responding) as nginx,
    ):
        responses = [pool.submit(fetch, nginx.url, "/live/") for _ in range(2)]
        yield SimpleNamespace(responses=responses, log=nginx.folder / "access.log")
