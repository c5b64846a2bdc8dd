"""Ports on the loopback address, chosen once and stored, so that URLs stay the same from start to start."""

import random
import socket
import time

import psutil

from devstack.errors import StackError
from devstack.workspace import Workspace

LOOPBACK = "127.0.0.1"
LET_GO_WITHIN_S = 3.0
FIRST, LAST = 20000, 31999  # below the range from which Linux takes the ports of outgoing connections


def is_free(port: int) -> bool:
    """Return whether nothing listens on the port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def is_free_soon(port: int) -> bool:
    """Return whether nothing listens on the port, now or in a moment.

    A killed process becomes a zombie when its first thread has ended; its other threads hold the port until they have
    ended, too.
    """
    deadline = time.monotonic() + LET_GO_WITHIN_S
    while not is_free(port):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def is_open(port: int) -> bool:
    """Return whether a server listens on the port."""
    try:
        socket.create_connection((LOOPBACK, port), timeout=1).close()
    except OSError:
        return False
    return True


def unused() -> int:
    """Return a port that nothing uses now, for a server that is started at once."""
    with socket.create_server((LOOPBACK, 0)) as one:
        port: int = one.getsockname()[1]
    return port


def assigned(workspace: Workspace, part: str) -> int:
    """Return the part's port; choose one at its first use."""
    with workspace.lock("ports"):
        ports = workspace.read_json("ports.json")
        if part not in ports:
            ports[part] = _choose(set(ports.values()))
            workspace.write_json("ports.json", ports)
        return int(ports[part])


def reassign(workspace: Workspace, part: str) -> None:
    """Replace a port that another program has taken."""
    with workspace.lock("ports"):
        ports = workspace.read_json("ports.json")
        ports.pop(part, None)
        workspace.write_json("ports.json", ports)


def require_free(port: int) -> None:
    """Require a requested port to be free.

    :raises StackError: another program uses it.
    """
    if not is_free(port):
        raise StackError(f"port {port} is taken by {_holder(port)}: stop that, or choose another with PORT=...")


def _choose(taken: set[int]) -> int:
    for _ in range(1000):
        port = random.randint(FIRST, LAST)  # noqa: S311 - any free port will do
        if port not in taken and is_free(port):
            return port
    raise StackError(f"no free port between {FIRST} and {LAST}")


def _holder(port: int) -> str:
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (port,) and connection.pid:
                return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
    except psutil.Error:
        pass
    return "another program"
