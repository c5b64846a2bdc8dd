"""The account that runs the servers: PostgreSQL and PgBouncer refuse to run as root."""

import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

ACCOUNT = "campshub_devstack"


@dataclass(frozen=True)
class Account:
    """An account of this system; ``uid`` is None when it is the current one."""

    uid: int | None = None
    gid: int | None = None

    @property
    def groups(self) -> list[int] | None:
        """Return no supplementary groups for another account; None, which keeps ours, for the current one."""
        return None if self.uid is None else []

    def chown(self, path: Path) -> None:
        """Make the account the owner of a file or folder."""
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def can(self, right: str, path: Path) -> bool:
        """Return whether the account may read (``-r``) or enter and run (``-x``) a path, according to ``test``."""
        if self.uid is None:
            return True
        question = ["test", right, str(path)]
        return subprocess.run(question, user=self.uid, group=self.gid, extra_groups=[], check=False).returncode == 0


def choose() -> Account:
    """Return an ordinary account: the current one, or for root the stack's own (created if missing), or ``nobody``."""
    if os.geteuid() != 0:
        return Account()
    for name in (ACCOUNT, "nobody"):
        entry = _find(name) or (_make(name) if name == ACCOUNT else None)
        if entry is not None:
            return Account(uid=entry.pw_uid, gid=entry.pw_gid)
    return Account(uid=65534, gid=65534)


def _find(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def _make(name: str) -> pwd.struct_passwd | None:
    useradd = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin")
    if useradd is None:
        return None
    command = [useradd, "--system", "--no-create-home", "--user-group", "--shell", "/usr/sbin/nologin", name]
    subprocess.run(command, check=False, capture_output=True)
    return _find(name)
