"""Temporary folders of reports, in which a file is put together: rows lie there unsealed, so none outlives its use.

Each is locked (``flock``) for as long as it is used, and the system lets go of a lock when its process ends, however
that was. So whoever makes the next folder removes those that nobody holds.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def own_room() -> Iterator[str]:
    """Make a folder for one report; it is gone with all that is in it when the block ends.

    :raises PermissionError: somebody else has taken the place of the folders.
    """
    root = _root()
    with _locked(root):  # so that nobody finds a new folder before it is locked
        _remove_left(root)
        room = Path(tempfile.mkdtemp(dir=root))
        lock = _lock(room, fcntl.LOCK_EX)
    try:
        yield str(room)
    finally:
        shutil.rmtree(room, ignore_errors=True)
        os.close(lock)


def _root() -> Path:
    """Return the one folder that holds all of an account's, for its eyes alone."""
    root = Path(tempfile.gettempdir(), f"campshub-reports-{os.geteuid()}")
    with suppress(FileExistsError):
        root.mkdir(mode=0o700)
    found = root.lstat()
    if root.is_symlink() or found.st_uid != os.geteuid():
        raise PermissionError(f"{root} is not ours.")
    root.chmod(0o700)
    return root


def _remove_left(root: Path) -> None:
    """Remove the folders whose processes are gone."""
    for room in root.iterdir():
        try:
            lock = _lock(room, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue  # in use, just removed by its own process, or none of these folders
        shutil.rmtree(room, ignore_errors=True)
        os.close(lock)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    lock = _lock(folder, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(lock)


def _lock(folder: Path, how: int) -> int:
    """Lock a folder; closing what is returned lets go of it."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(opened, how)
    except BaseException:
        os.close(opened)
        raise
    return opened
