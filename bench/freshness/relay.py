"""Relays to a server's port: each can be closed, held or opened, so that one process is cut off and others are not.

A separate process (``python -m bench.freshness.relay PORT COUNT``), so that the checker's own work does not slow it
down. A held relay delivers what it has received when it is opened again, like a network after an interruption.
"""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Sequence

from devstack.ports import LOOPBACK

PIECE = 65536


class _Relay:
    """One listening port, and the connections through it."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._flows = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def open(self) -> None:
        """Forward everything: new data and what was held."""
        self._flows.set()
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, LOOPBACK, self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def hold(self) -> None:
        """Receive everything and deliver nothing."""
        self._flows.clear()

    async def close(self) -> None:
        """Refuse new connections, and break the existing ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in tuple(self._writers):
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            await self._flows.wait()
            there, back = await asyncio.open_connection(LOOPBACK, self._target)
            self._writers.add(back)
            await asyncio.gather(self._pass_on(reader, back), self._pass_on(there, writer))
            self._writers.discard(back)
        except OSError:
            writer.transport.abort()
        finally:
            self._writers.discard(writer)

    async def _pass_on(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while piece := await source.read(PIECE):
                await self._flows.wait()
                sink.write(piece)
                await sink.drain()
            await self._flows.wait()
        sink.close()


async def _serve(target: int, count: int) -> None:
    relays = [_Relay(target) for _ in range(count)]
    for relay in relays:
        await relay.open()
    print(*(relay.port for relay in relays), flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        number, action = line.split()
        relay = relays[int(number)]
        await {"open": relay.open, "hold": relay.hold, "close": relay.close}[action]()
        print("done", flush=True)


class Relays:
    """The checker's interface to the process of the relays."""

    def __init__(self, target: int, count: int) -> None:
        command = [sys.executable, "-m", "bench.freshness.relay", str(target), str(count)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.ports: Sequence[int] = [int(port) for port in self._line().split()]

    def set_state(self, number: int, action: str) -> None:
        """Open, hold or close one relay; return when that is done."""
        if self._process.stdin is None:
            raise RuntimeError("the relays have no input")
        self._process.stdin.write(f"{number} {action}\n")
        self._process.stdin.flush()
        self._line()

    def end(self) -> None:
        """End the process."""
        self._process.terminate()
        with self._process:
            self._process.wait()

    def _line(self) -> str:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise RuntimeError("the relays have ended")
        return line


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), int(sys.argv[2])))
