"""Check the configuration files at the top with the programs that read them."""

import contextlib
import shutil
import subprocess
import tempfile
from pathlib import Path

from devstack import packages, workspace
from devstack.api import Api
from devstack.errors import StackError
from devstack.nginx import Nginx
from devstack.postgres import Primary
from devstack.workspace import Workspace


def main() -> int:
    """Check postgresql.conf and, where nginx is installed, nginx.conf.

    :raises StackError: a program rejects its file; the message is the program's.
    """
    with tempfile.TemporaryDirectory(prefix="campshub-check-") as folder:
        Path(folder).chmod(0o755)
        here = workspace.make(Path(folder))
        _check_postgresql(here)
        _check_nginx(here)
        if here.runtime.parent != here.directory:
            shutil.rmtree(here.runtime, ignore_errors=True)
    return 0


def _check_postgresql(here: Workspace) -> None:
    primary = Primary(here, "primary", {})
    here.write(primary.folder / "postgresql.conf", primary.configuration())
    data = here.folder("primary/data")
    configuration = f"config_file={primary.folder / 'postgresql.conf'}"
    primary.run("postgres", "-D", str(data), "-c", configuration, "-C", "shared_buffers")
    print("postgresql.conf: accepted")


def _check_nginx(here: Workspace) -> None:
    with contextlib.suppress(StackError):
        packages.find("nginx", "nginx-light")
    if shutil.which("nginx", path=packages.FOLDERS) is None:
        print("nginx.conf: not checked, nginx is not installed")
        return
    api = Api(here, "api-1", port=None, workers=1, application="", ready_path="/", settings=dict)
    nginx = Nginx(here, [api], port=None, rate="100r/s")
    nginx.prepare()
    done = subprocess.run(
        [*nginx.command(), "-t", "-q"],
        user=here.account.uid,
        group=here.account.gid,
        extra_groups=here.account.groups,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise StackError(f"nginx.conf: {done.stderr.strip()}")
    print("nginx.conf: accepted")
