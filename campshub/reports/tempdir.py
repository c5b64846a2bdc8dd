"""Temporary folders in which a report's file is assembled. Their rows are not encrypted, so no folder outlives its use.

A process locks its folder (``flock``) while it uses it. The system releases the lock when the process ends, even after
``kill -9``. Each process that makes a folder first removes all folders that are not locked.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def temporary_folder() -> Iterator[str]:
    """Make a folder for one report, and remove it with its content when the block ends.

    :raises PermissionError: the parent folder belongs to another account.
    """
    root = _root()
    with _locked(root):  # so that no other process finds a new folder before it is locked
        _remove_abandoned(root)
        folder = Path(tempfile.mkdtemp(dir=root))
        lock = _lock(folder, fcntl.LOCK_EX)
    try:
        yield str(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _root() -> Path:
    """Return the parent of all folders of this account; only the account may read it."""
    root = Path(tempfile.gettempdir(), f"campshub-reports-{os.geteuid()}")
    with suppress(FileExistsError):
        root.mkdir(mode=0o700)
    found = root.lstat()
    if root.is_symlink() or found.st_uid != os.geteuid():
        raise PermissionError(f"{root} belongs to another account.")
    root.chmod(0o700)
    return root


def _remove_abandoned(root: Path) -> None:
    """Remove the folders whose processes have ended."""
    for folder in root.iterdir():
        try:
            lock = _lock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue  # in use, just removed by its own process, or not one of these folders
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    lock = _lock(folder, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(lock)


def _lock(folder: Path, how: int) -> int:
    """Lock a folder and return a file descriptor; closing it releases the lock."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(opened, how)
    except BaseException:
        os.close(opened)
        raise
    return opened
