"""Redis, twice: the cache, which may be lost, and the broker, which may not."""

import socket
from pathlib import Path

from devstack import keys, packages
from devstack.part import Part
from devstack.ports import LOOPBACK
from devstack.workspace import REPOSITORY, Workspace


class Redis(Part):
    """One Redis server, with the project's configuration for its kind (``cache`` or ``broker``)."""

    program = "redis-server"

    def __init__(self, workspace: Workspace, kind: str) -> None:
        super().__init__(workspace, f"redis-{kind}")
        self.kind = kind
        self.redis_server = str(workspace.runnable(Path(packages.redis_server())))

    @property
    def url(self) -> str:
        """Return the server's URL, with the password of the user who may do everything."""
        return f"redis://:{keys.load(self.workspace)['redis']}@{LOOPBACK}:{self.port}/0"

    @property
    def application_url(self) -> str:
        """Return the URL for the application, which has its own user in the broker."""
        if self.kind == "cache":
            return self.url
        return f"redis://campshub:{keys.load(self.workspace)['broker']}@{LOOPBACK}:{self.port}/0"

    def configuration(self) -> str:
        """Return the generated configuration: the project's file, and what is specific to this stack."""
        secrets = keys.load(self.workspace)
        lines = [f"include {self.kind}.conf", f"bind {LOOPBACK}", f"port {self.port}", f"dir {self.folder}"]
        lines.append(f"requirepass {secrets['redis']}")
        if self.kind == "broker":
            rules = (REPOSITORY / "config" / "redis" / "broker.acl").read_text(encoding="utf-8").splitlines()
            lines.append(f"user campshub on >{secrets['broker']} {' '.join(r for r in rules if not r.startswith('#'))}")
        return "".join(f"{line}\n" for line in lines)

    def inputs(self) -> str:
        """Return the project's files and the generated ones."""
        shared = [REPOSITORY / "redis.conf", REPOSITORY / "config" / "redis" / f"{self.kind}.conf"]
        return "".join(path.read_text(encoding="utf-8") for path in shared) + self.configuration()

    def prepare(self) -> None:
        """Link the project's files into the folder and write the generated one."""
        self.workspace.link(self.folder / "redis.conf", REPOSITORY / "redis.conf")
        self.workspace.link(self.folder / f"{self.kind}.conf", REPOSITORY / "config" / "redis" / f"{self.kind}.conf")
        self.workspace.write(self.folder / "start.conf", self.configuration())

    def command(self) -> list[str]:
        """Return the redis-server command with the generated configuration."""
        return [self.redis_server, str(self.folder / "start.conf")]

    def is_ready(self) -> bool:
        """Authenticate and send a PING; a broker that still reads its journal replies LOADING."""
        password = keys.load(self.workspace)["redis"]
        try:
            with socket.create_connection((LOOPBACK, self.port), timeout=1) as connection:
                connection.sendall(f"AUTH {password}\r\nPING\r\n".encode())
                reply = b""
                while reply.count(b"\r\n") < 2 and (piece := connection.recv(256)):  # noqa: PLR2004 - two replies
                    reply += piece
        except OSError:
            return False
        return reply == b"+OK\r\n+PONG\r\n"
