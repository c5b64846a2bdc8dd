"""The folders of a stack: the one that the user sees, and the one in which its servers work."""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devstack import account
from devstack.account import Account
from devstack.errors import StackError

REPOSITORY = Path(__file__).resolve().parent.parent
SECRET = 0o600
PASSABLE = 0o711


@dataclass(frozen=True)
class Workspace:
    """The stack's folders and the account that owns what servers write.

    ``directory`` contains the state, the ports and the secrets. ``runtime`` contains data, logs and generated
    configuration; it is ``directory/run`` unless the servers' account has no access to it (a clone in root's home):
    then it is a folder below ``/var/tmp``, recorded in ``directory/runtime.json``.
    """

    directory: Path
    runtime: Path
    account: Account

    def read_json(self, name: str) -> dict[str, Any]:
        """Read one of the directory's files; a missing or incomplete file is an empty dictionary."""
        try:
            content = json.loads((self.directory / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        """Replace one of the directory's files atomically, readable by its owner only."""
        path = self.directory / name
        unfinished = path.with_name(f".{name}.{os.getpid()}")
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, SECRET), "w") as file:
            json.dump(content, file, indent=2)
            file.write("\n")
        unfinished.replace(path)

    def folder(self, name: str) -> Path:
        """Create a folder of the servers' account below ``runtime``."""
        path = self.runtime / name
        path.mkdir(mode=0o700, exist_ok=True)
        self.account.chown(path)
        return path

    def write(self, path: Path, text: str) -> None:
        """Write a generated file that only the servers' account reads."""
        unfinished = path.with_name(f".{path.name}.new")
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, SECRET), "w") as file:
            file.write(text)
        self.account.chown(unfinished)
        unfinished.replace(path)

    def readable(self, path: Path) -> Path:
        """Return a path under which the servers' account reads a file of the project: the file, or a fresh copy."""
        if self.account.can("-r", path):
            return path
        copy = self.folder("copies") / path.relative_to(REPOSITORY).as_posix().replace("/", "-")
        shutil.copyfile(path, copy)
        copy.chmod(0o644)
        return copy

    def runnable(self, program: Path) -> Path:
        """Return a path under which the servers' account runs a program: the program, or a copy."""
        if self.account.can("-x", program):
            return program
        copy = self.folder("copies") / program.name
        if not copy.exists() or copy.stat().st_size != program.stat().st_size:
            copy.unlink(missing_ok=True)
            shutil.copyfile(program, copy)
            copy.chmod(0o755)
        return copy

    def link(self, link: Path, target: Path) -> None:
        """Point a symbolic link at a file of the project that the servers' account can read."""
        link.unlink(missing_ok=True)
        link.symlink_to(self.readable(target))

    @contextlib.contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Hold a lock between processes; it ends with the process that holds it."""
        with (self.directory / f"{name}.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def make(directory: Path) -> Workspace:
    """Create the folders of a stack, or find the existing ones."""
    directory = directory.resolve()
    directory.mkdir(parents=True, exist_ok=True)
    _write_gitignore(directory)
    owner = account.choose()
    return Workspace(directory, _runtime(directory, owner), owner)


def _write_gitignore(directory: Path) -> None:
    ignore = directory / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n", encoding="utf-8")


def _runtime(directory: Path, owner: Account) -> Path:
    here = directory / "run"
    here.mkdir(exist_ok=True)
    here.chmod(PASSABLE)
    if owner.can("-x", here):
        (directory / "runtime.json").unlink(missing_ok=True)
        return here
    name = hashlib.sha256(str(directory).encode()).hexdigest()[:12]
    elsewhere = Path("/var/tmp") / f"campshub-devstack-{name}"  # noqa: S108 - owned and checked just below
    with contextlib.suppress(FileExistsError):
        elsewhere.mkdir(mode=PASSABLE)
    found = elsewhere.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise StackError(f"{elsewhere} belongs to somebody else; set DEVSTACK_DIR to a folder that all users can enter")
    elsewhere.chmod(PASSABLE)
    note = {"runtime": str(elsewhere), "why": f"the servers' account cannot enter {here}"}
    (directory / "runtime.json").write_text(json.dumps(note) + "\n", encoding="utf-8")
    return elsewhere
