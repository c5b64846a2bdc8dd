"""A separate Redis, which a test can empty, restore to an earlier copy, and cut off from a single process."""

import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import redis

from devstack import packages

START_PATIENCE_S = 20.0
Copy = dict[bytes, tuple[bytes, int]]


class CacheServer:
    """A redis-server on a socket in a folder; each process has its own symbolic link to the socket."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._number = 0
        self._links: dict[str, Path] = {}
        self._server: subprocess.Popen[bytes] | None = None
        self.client: Any = None
        self.start()

    @property
    def socket(self) -> Path:
        return self.folder / f"redis-{self._number}.sock"

    def start(self) -> None:
        """Start an empty server with a new ``run_id``; the previous one ends."""
        self.stop()
        self._number += 1
        command = [packages.redis_server(), "--port", "0", "--unixsocket", str(self.socket), "--save", ""]
        self._server = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=self.folder)
        self.client = redis.Redis(unix_socket_path=str(self.socket))
        until = time.monotonic() + START_PATIENCE_S
        while True:
            try:
                self.client.ping()
                break
            except redis.ConnectionError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.002)
        for name in self._links:
            self.join(name)

    def stop(self) -> None:
        """Kill the server."""
        if self._server is not None:
            self.client.close()
            self._server.kill()
            self._server.wait()
            self._server = None

    def hang(self) -> None:
        """Stop responding, but keep the requests that arrive."""
        assert self._server is not None
        self._server.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Respond again, also to the requests that arrived meanwhile."""
        assert self._server is not None
        self._server.send_signal(signal.SIGCONT)

    def copy(self) -> Copy:
        """Return the content of the server."""
        found = {}
        for key in self.client.scan_iter():
            life = self.client.pttl(key)
            found[key] = (self.client.dump(key), max(life, 0))
        return found

    def restart(self, copy: Copy | None = None) -> None:
        """Restart with the content of a copy, or empty."""
        self.start()
        for key, (value, life) in (copy or {}).items():
            self.client.restore(key, life, value)

    def join(self, name: str) -> str:
        """Create a process's link to the server; return its URL."""
        link = self._links.setdefault(name, self.folder / f"{name}.sock")
        link.unlink(missing_ok=True)
        link.symlink_to(self.socket)
        return f"unix://{link}"

    def cut(self, name: str) -> None:
        """Remove a process's link to the server."""
        self._links[name].unlink(missing_ok=True)

    def is_cut(self, name: str) -> bool:
        """Return whether a process is cut off."""
        return not self._links[name].is_symlink()

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
