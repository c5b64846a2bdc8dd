"""nginx in front of the API processes."""

import functools
import os
from collections.abc import Sequence

from devstack import packages, ports
from devstack.api import Api
from devstack.part import Part
from devstack.ports import LOOPBACK
from devstack.workspace import REPOSITORY, Workspace


class Nginx(Part):
    """The proxy that clients talk to."""

    program = "nginx"
    stop_patience_s = 5.0

    def __init__(self, workspace: Workspace, apis: Sequence[Api], *, port: int | None, rate: str) -> None:
        super().__init__(workspace, "nginx")
        self.apis = apis
        self.wanted_port = port
        self.rate = rate

    @property
    def port(self) -> int:
        """Return the requested port, or one chosen for this part."""
        return self.wanted_port or ports.assigned(self.workspace, self.name)

    @property
    def url(self) -> str:
        """Return the URL that clients use."""
        return f"http://{LOOPBACK}:{self.port}"

    def free_port(self) -> None:
        """Require the requested port to be free."""
        if self.wanted_port:
            ports.require_free(self.wanted_port)
        else:
            super().free_port()

    @functools.cached_property
    def path(self) -> str:
        """Return the program's path; stopping the part does not need it."""
        return packages.find("nginx", "nginx-light")

    def require(self) -> None:
        """Find the program."""
        _ = self.path

    def includes(self) -> dict[str, str]:
        """Return the generated files by name."""
        servers = [f"server {LOOPBACK}:{api.port} max_fails=3 fail_timeout=5s;\n" for api in self.apis]
        return {
            "listen.conf": f"listen {LOOPBACK}:{self.port};\n",
            "upstreams.conf": "".join(servers),
            "edge.conf": f"limit_req_zone $binary_remote_addr zone=address:10m rate={self.rate};\n"
            "limit_conn_zone $binary_remote_addr zone=connections:10m;\n"
            "map $scheme $edge_scheme { default $scheme; }\n"
            f'map $http_origin $cors_origin {{ default ""; {self._origins()}}}\n',
        }

    def _origins(self) -> str:
        """Return the map's lines for the origins that the API processes get from our environment.

        The last one is for requests whose Origin nginx could not read: any page may read that error response, which
        contains no data.
        """
        origins = os.environ.get("CORS_ORIGINS", "").replace(",", " ").lower().split()
        return "".join(f'"{origin}" "{origin}"; ' for origin in origins) + ('"" "*"; ' if origins else "")

    def inputs(self) -> str:
        """Return the project's nginx.conf and the generated files."""
        return (REPOSITORY / "nginx.conf").read_text(encoding="utf-8") + str(self.includes())

    def prepare(self) -> None:
        """Link the project's file into the folder, write its includes, create the folder for bodies."""
        self.workspace.link(self.folder / "nginx.conf", REPOSITORY / "nginx.conf")
        for name, text in self.includes().items():
            self.workspace.write(self.folder / name, text)
        self.workspace.folder("nginx/tmp")

    def command(self) -> list[str]:
        """Return the nginx command with the project's file; the includes are found beside the link to it."""
        log = str(self.folder / "error.log")
        return [self.path, "-p", f"{self.folder}/", "-c", str(self.folder / "nginx.conf"), "-e", log]
