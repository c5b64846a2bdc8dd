"""Waiting for a socket: as a greenlet where gevent has patched the standard library, so that others go on meanwhile."""

import select

from gevent import monkey, socket


def wait_until(fileno: int, *, writable: bool = False) -> None:
    """Wait until there is something to read, or room to write."""
    if monkey.is_module_patched("select"):
        (socket.wait_write if writable else socket.wait_read)(fileno)
        return
    poll = select.poll()
    poll.register(fileno, select.POLLOUT if writable else select.POLLIN)
    poll.poll()
