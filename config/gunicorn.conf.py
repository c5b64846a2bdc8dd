# ruff: noqa: E402 - the patching comes before the imports
"""gunicorn's settings, from the environment; read by ``gunicorn -c config/gunicorn.conf.py wsgi:app``."""

import os

_kind = os.environ.get("GUNICORN_WORKER_CLASS") or "gevent"

# Before anything else is imported. psycopg chooses its wait function at import. Imported before the patching, it would
# use the C function, which blocks every greenlet of the worker while one query runs, without any error.
if _kind == "gevent":
    from gevent import monkey

    monkey.patch_all()

import contextlib
import gc
import logging
import re
import shutil
import socket
import sys
from pathlib import Path
from typing import Any

import gunicorn
from gunicorn.glogging import Logger

# The product's name, not the server's, and never a version. gunicorn always sends a Server header; nginx drops it.
gunicorn.SERVER = "campshub"

wsgi_app = "wsgi:app"
# gevent's worker, with problem documents for requests that never reach the application.
worker_class = "campshub.core.http.gunicorn_worker.ProblemWorker" if _kind == "gevent" else _kind
bind = os.environ.get("BIND") or f"127.0.0.1:{os.environ.get('PORT') or 8000}"
backlog = 2048

workers = int(os.environ.get("GUNICORN_WORKERS") or 8)
worker_connections = int(os.environ.get("GUNICORN_WORKER_CONNECTIONS") or 2000)

# A worker whose hub is blocked for this long is ended. This does not limit requests: nginx's read time-out, the
# application's deadline and the roles' statement_timeout do, in that order.
timeout = int(os.environ.get("GUNICORN_TIMEOUT") or 30)
# Less than the time that a container has to stop.
graceful_timeout = 20
# It is also how long a client may take to send its headers. Behind nginx (which has the headers before it connects) it
# must outlast nginx's own keepalive of 60 s, or a request meets a closing connection. Without a proxy it stays short.
keepalive = 75 if int(os.environ.get("TRUSTED_PROXIES") or "0") > 0 else 10

# Replace workers now and then, not all at once.
max_requests = int(os.environ.get("GUNICORN_MAX_REQUESTS") or 50_000)
max_requests_jitter = max_requests // 5

# Off: the application opens its pools in the worker that uses them, and see the patching above.
preload_app = False
# For development: a worker ends when a file that it has imported changes, and a fresh one starts.
reload = os.environ.get("RELOAD") == "1"
control_socket_disable = True
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - heartbeats must not wait for a disk

# gunicorn would trust these headers from every client on loopback. The application evaluates them, for as many proxies
# as TRUSTED_PROXIES says.
forwarded_allow_ips = ""
secure_scheme_headers: dict[str, str] = {}
forwarder_headers = ""

limit_request_line = 8190
limit_request_fields = 64
limit_request_field_size = 8190

# The application writes one line for each request, with more details than gunicorn has.
accesslog = None
errorlog = "-"


class _WithoutQueries(logging.Formatter):
    """Removes everything after a question mark in each line: it may contain a link's token."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of a record, without queries."""
        return re.sub(r"\?.*", "?...", super().format(record))


class QuietLogger(Logger):
    """gunicorn's logger, without the queries of the URLs of failed requests."""

    def setup(self, cfg: Any) -> None:
        """Set up the handlers as gunicorn does, each with our formatter."""
        super().setup(cfg)
        for handler in self.error_log.handlers:
            handler.setFormatter(_WithoutQueries(self.error_fmt, self.datefmt))


logger_class = QuietLogger
loglevel = os.environ.get("GUNICORN_LOG_LEVEL") or "info"

METRICS = os.environ.get("PROMETHEUS_MULTIPROC_DIR")


def on_starting(server: Any) -> None:  # noqa: ARG001 - gunicorn hands itself over
    """Empty the metrics folder: files of ended processes would be counted for ever."""
    if METRICS:
        folder = Path(METRICS)
        folder.mkdir(parents=True, exist_ok=True)
        for entry in folder.iterdir():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink(missing_ok=True)


def when_ready(server: Any) -> None:
    """Refuse connections until a worker can serve them.

    The kernel accepts connections to a listening socket while the workers still load the application, and nginx waits
    for a response (proxy_read_timeout); a refused read goes to another process at once. An inherited socket (from
    systemd, or from the process that this one replaces) is shared with others and stays open.
    """
    if server.systemd or server.master_pid:
        return
    for listener in server.LISTENERS:
        with contextlib.suppress(OSError):  # systems where a listening socket cannot be shut down
            listener.sock.shutdown(socket.SHUT_RD)


def post_fork(server: Any, worker: Any) -> None:  # noqa: ARG001 - gunicorn hands itself over
    """Refuse to serve with a psycopg that would block the whole worker."""
    if _kind != "gevent":
        return
    from psycopg import waiting  # noqa: PLC0415 - after the patching, in the worker

    if waiting.wait.__name__ == "wait_c":
        worker.log.error("psycopg was imported before gevent patched the standard library; it would block the worker")
        sys.exit(4)  # "the application failed to load": gunicorn stops instead of starting workers for ever


def post_worker_init(worker: Any) -> None:
    """Exclude loaded objects from garbage collection, and accept connections.

    Loaded objects stay for ever, and each pass over them stops every request: with these passes, marking a register of
    1,000 takes 180 ms, without them 132 ms (`docs/performance.md`).
    """
    gc.collect()
    gc.freeze()
    for listener in worker.sockets:
        listener.listen(backlog)  # closed by ``when_ready``; no effect if another worker listens already


def child_exit(server: Any, worker: Any) -> None:  # noqa: ARG001 - gunicorn hands itself over
    """Remove the live gauges of a worker that has ended."""
    if METRICS:
        from prometheus_client import multiprocess  # noqa: PLC0415 - it reads the folder's name when imported

        multiprocess.mark_process_dead(worker.pid)
