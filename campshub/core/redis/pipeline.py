"""A pipelined connection to a cache Redis: one per process, and concurrent callers share a round trip.

redis-py opens the connection (addresses, passwords, TLS). Its own writing and reading take 60 us per command, while a
cached response takes some 100 us in total. So hiredis itself packs the commands and parses the replies.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hiredis
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from campshub.core.circuit_breaker import CircuitBreaker
from campshub.core.observe import metrics
from campshub.core.redis.batching import BatchedRequest, Interrupted, RequestBatcher
from campshub.core.redis.connection import ANSWER_WITHIN_S, PAUSE_S, CacheUnavailable

_CHUNK = 256 * 1024


class Script:
    """A Lua script of a folder, preceded by the texts ``before`` and the folder's ``common.lua``."""

    def __init__(self, folder: Path, name: str, *before: str) -> None:
        parts = [(folder / file).read_text(encoding="utf-8") for file in ("common.lua", f"{name}.lua")]
        self.text = "\n".join((*before, *parts))
        self.name = name


class PipelinedRedis:
    """One process's connection to one cache Redis."""

    def __init__(self, url: str, scripts: Sequence[Script], *, name: str = "cache0") -> None:
        self.url = url
        self._scripts = scripts
        self._pool = redis.ConnectionPool.from_url(
            url,
            socket_timeout=ANSWER_WITHIN_S,
            socket_connect_timeout=ANSWER_WITHIN_S,
            retry=Retry(NoBackoff(), 0),
        )
        self._batcher = RequestBatcher(self._serve)
        self.breaker = CircuitBreaker(PAUSE_S, name=name, changed=metrics.breaker_open.labels(name).set)
        # The identity of the server, as last seen outside its quarantine (``ask.lua``).
        self.identity = b""
        self._process = os.getpid()
        self._connection: Any = None
        self._socket: Any = None
        self._reader: Any = None
        self._run_id = b""
        self._names: dict[str, bytes] = {}

    def run(self, script: Script, *arguments: Any) -> Any:
        """Return the reply of a script; it gets the server's ``run_id`` before the arguments.

        :raises CacheUnavailable: the server does not reply, or did not a moment ago.
        """
        return self._request(script, arguments)

    def send(self, *command: Any) -> Any:
        """Return the reply of a plain command.

        :raises CacheUnavailable: likewise.
        """
        return self._request(None, command)

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        connection, self._connection, self._socket = self._connection, None, None
        if connection is not None:
            connection.disconnect()

    def _request(self, script: Script | None, arguments: tuple[Any, ...]) -> Any:
        if not self.breaker.allows():
            raise CacheUnavailable
        try:
            reply = self._batcher.request((script, arguments))
        except (redis.RedisError, hiredis.HiredisError, OSError, Interrupted) as error:
            raise CacheUnavailable from error
        if isinstance(reply, hiredis.ReplyError):
            raise CacheUnavailable from reply
        return reply

    def _serve(self, requests: Sequence[BatchedRequest]) -> None:
        is_complete = False
        try:
            if self._socket is None or os.getpid() != self._process:
                self._connect()
            self._exchange(requests)
            unknown = [request for request in requests if request.payload[0] and _is_unknown_script(request.reply)]
            if unknown:
                self._load()
                self._exchange(unknown)
            is_complete = True
        finally:
            if is_complete:
                self.breaker.succeeded()
            else:  # replies that no caller waits for may still arrive
                self.breaker.failed()
                self.close()

    def _exchange(self, requests: Sequence[BatchedRequest]) -> None:
        self._socket.sendall(b"".join([self._packed(*request.payload) for request in requests]))
        for request in requests:
            request.reply = self._read()

    def _packed(self, script: Script | None, arguments: tuple[Any, ...]) -> bytes:
        prefix = (b"EVALSHA", self._names[script.name], b"0", self._run_id) if script else ()
        packed: bytes = hiredis.pack_command((*prefix, *arguments))
        return packed

    def _read(self) -> Any:
        while (reply := self._reader.gets()) is False:
            data = self._socket.recv(_CHUNK)
            if not data:
                raise redis.ConnectionError("the server has closed the connection")
            self._reader.feed(data)
        return reply

    def _connect(self) -> None:
        """Connect; a restart of the server closes the connection, so the ``run_id`` is valid as long as it is open."""
        if os.getpid() != self._process:
            self._process, self._connection = os.getpid(), None  # the parent process still uses its connection
        connection: Any = self._pool.make_connection()
        connection.connect()
        self._connection, self._socket = connection, connection._sock  # noqa: SLF001 - see the module's docstring
        self._reader = hiredis.Reader()
        lines = bytes(self._command(b"INFO", b"server")).splitlines()
        self._run_id = next(line.partition(b":")[2] for line in lines if line.startswith(b"run_id:"))
        self._load()

    def _load(self) -> None:
        for script in self._scripts:
            self._names[script.name] = bytes(self._command(b"SCRIPT", b"LOAD", script.text))

    def _command(self, *command: Any) -> Any:
        self._socket.sendall(hiredis.pack_command(command))
        reply = self._read()
        if isinstance(reply, Exception):
            raise reply
        return reply


def _is_unknown_script(reply: Any) -> bool:
    return isinstance(reply, hiredis.ReplyError) and str(reply).startswith("NOSCRIPT")
