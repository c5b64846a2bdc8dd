"""The wire to a cache Redis: one connection a process, and concurrent callers share a round trip.

redis-py makes the connection (addresses, passwords, TLS). Its own writing and reading take 60 us a command, and a
cached answer has some 100 us in all; so commands are packed and answers read by hiredis itself.
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
    """A Lua script of a folder, after the texts ``before`` and the folder's ``common.lua``."""

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
        self._line = RequestBatcher(self._serve)
        self.breaker = CircuitBreaker(PAUSE_S, name=name, changed=metrics.breaker_open.labels(name).set)
        # The identity of the server that was last seen out of quarantine (``ask.lua``).
        self.identity = b""
        self._process = os.getpid()
        self._connection: Any = None
        self._socket: Any = None
        self._reader: Any = None
        self._run_id = b""
        self._names: dict[str, bytes] = {}

    def run(self, script: Script, *arguments: Any) -> Any:
        """Return what a script answers; it is told the server's ``run_id`` before the arguments.

        :raises CacheUnavailable: the server does not answer, or has not a moment ago.
        """
        return self._ask(script, arguments)

    def send(self, *command: Any) -> Any:
        """Return what a plain command answers.

        :raises CacheUnavailable: likewise.
        """
        return self._ask(None, command)

    def close(self) -> None:
        """Close the connection; the next errand makes another."""
        connection, self._connection, self._socket = self._connection, None, None
        if connection is not None:
            connection.disconnect()

    def _ask(self, script: Script | None, arguments: tuple[Any, ...]) -> Any:
        if not self.breaker.allows():
            raise CacheUnavailable
        try:
            answer = self._line.ask((script, arguments))
        except (redis.RedisError, hiredis.HiredisError, OSError, Interrupted) as error:
            raise CacheUnavailable from error
        if isinstance(answer, hiredis.ReplyError):
            raise CacheUnavailable from answer
        return answer

    def _serve(self, errands: Sequence[BatchedRequest]) -> None:
        is_whole = False
        try:
            if self._socket is None or os.getpid() != self._process:
                self._connect()
            self._exchange(errands)
            lost = [errand for errand in errands if errand.what[0] and _is_unknown_script(errand.answer)]
            if lost:
                self._load()
                self._exchange(lost)
            is_whole = True
        finally:
            if is_whole:
                self.breaker.succeeded()
            else:  # answers may still come that nobody waits for
                self.breaker.failed()
                self.close()

    def _exchange(self, errands: Sequence[BatchedRequest]) -> None:
        self._socket.sendall(b"".join([self._packed(*errand.what) for errand in errands]))
        for errand in errands:
            errand.answer = self._read()

    def _packed(self, script: Script | None, arguments: tuple[Any, ...]) -> bytes:
        words = (b"EVALSHA", self._names[script.name], b"0", self._run_id) if script else ()
        packed: bytes = hiredis.pack_command((*words, *arguments))
        return packed

    def _read(self) -> Any:
        while (answer := self._reader.gets()) is False:
            data = self._socket.recv(_CHUNK)
            if not data:
                raise redis.ConnectionError("the server has hung up")
            self._reader.feed(data)
        return answer

    def _connect(self) -> None:
        """Connect; a restart of the server ends the connection, so its ``run_id`` holds for as long as this one."""
        if os.getpid() != self._process:
            self._process, self._connection = os.getpid(), None  # the parent's, which goes on using it
        connection: Any = self._pool.make_connection()
        connection.connect()
        self._connection, self._socket = connection, connection._sock  # noqa: SLF001 - see the module's docstring
        self._reader = hiredis.Reader()
        lines = bytes(self._told(b"INFO", b"server")).splitlines()
        self._run_id = next(line.partition(b":")[2] for line in lines if line.startswith(b"run_id:"))
        self._load()

    def _load(self) -> None:
        for script in self._scripts:
            self._names[script.name] = bytes(self._told(b"SCRIPT", b"LOAD", script.text))

    def _told(self, *command: Any) -> Any:
        self._socket.sendall(hiredis.pack_command(command))
        answer = self._read()
        if isinstance(answer, Exception):
            raise answer
        return answer


def _is_unknown_script(answer: Any) -> bool:
    return isinstance(answer, hiredis.ReplyError) and str(answer).startswith("NOSCRIPT")
