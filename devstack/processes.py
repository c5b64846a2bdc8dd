"""Processes of the stack: started in separate sessions, found again after a crash, never confused with others."""

import atexit
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from devstack import interruption
from devstack.account import Account

SAME_START_S = 2.0  # psutil derives the start time from the boot time, which a clock adjustment may move
POLL_S = 0.05

# Children of this process must be waited for, or they remain as zombies.
_children: dict[int, subprocess.Popen[bytes]] = {}


def spawn(account: Account, command: Sequence[str], folder: Path, log: Path, environment: Mapping[str, str]) -> int:
    """Start a server in the background as an account and return its process id.

    Defer signals during the call, until the id is recorded.
    """
    with log.open("ab") as output:
        child = subprocess.Popen(
            command,
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            user=account.uid,
            group=account.gid,
            extra_groups=account.groups,
            start_new_session=True,  # Ctrl-C reaches only the supervisor, which stops the parts in order
        )
    _children[child.pid] = child
    return child.pid


def run(command: Sequence[str], *, text: str | None = None, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command until it ends and return its output; when a signal interrupts us, it ends with its children.

    :param text: the standard input.
    """
    child = None
    try:
        with interruption.deferred():
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL if text is None else subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,  # we forward signals of the process group
                **options,
            )
        output, errors = child.communicate(text)
    except BaseException:
        if child is not None:
            end_now(child)
        raise
    return subprocess.CompletedProcess(command, child.returncode, output, errors)


def end_now(child: subprocess.Popen[Any]) -> None:
    """Kill our child process and its children, and reap it."""
    with contextlib.suppress(psutil.NoSuchProcess):
        kill([psutil.Process(child.pid)])
    child.wait()


def exit_code(pid: int) -> int | None:
    """Return the exit code of our child process that has ended; None while it runs or when it is not our child."""
    child = _children.get(pid)
    return child.poll() if child else None


@atexit.register
def _leave_children() -> None:
    """Mark running children as intended, or subprocess warns about each."""
    for child in _children.values():
        if child.poll() is None:
            child.returncode = 0


def started(pid: int) -> float:
    """Return when a process started, in seconds since the epoch; 0.0 when it has ended."""
    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:
        return 0.0


def find(pid: int, start: float) -> psutil.Process | None:
    """Return the process with this id if it is the one that started at that time and still runs."""
    exit_code(pid)
    try:
        process = psutil.Process(pid)
        if abs(process.create_time() - start) > SAME_START_S or process.status() == psutil.STATUS_ZOMBIE:
            return None
    except psutil.Error:
        return None
    return process


def of_folder(program: str, folder: Path) -> list[psutil.Process]:
    """Return the processes of a program whose working folder is, or whose arguments name a path in, one of our folders.

    A killed supervisor leaves them behind, and nginx's workers and PostgreSQL's backends carry no arguments.
    """
    return [process for process in psutil.process_iter() if _is_of_folder(process, program, folder)]


def _is_of_folder(process: psutil.Process, program: str, folder: Path) -> bool:
    try:
        arguments = process.cmdline()
        module = arguments[2] if arguments[1:2] == ["-m"] and len(arguments) > 2 else ""  # noqa: PLR2004 - python -m MODULE
        if process.pid == os.getpid() or program not in {process.name(), module}:
            return False
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        named = [*arguments, process.cwd()]
    except (psutil.Error, OSError):
        return False
    return any(f"{path}/".startswith(f"{folder}/") for path in named)


def end(processes: Sequence[psutil.Process], first: signal.Signals, patience_s: float) -> None:
    """End processes: the first signal, then SIGKILL after ``patience_s``; return when they have ended."""
    _signal(processes, first)
    left = _wait(processes, patience_s)
    _signal(left, signal.SIGKILL)
    _wait(left, patience_s=10)


def kill(processes: Sequence[psutil.Process]) -> None:
    """Kill processes and their children at once, as a crash would."""
    family = [child for process in processes for child in _children_of(process)]
    _signal([*processes, *family], signal.SIGKILL)
    _wait([*processes, *family], patience_s=10)


def _children_of(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def _signal(processes: Sequence[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.send_signal(number)


def _wait(processes: Sequence[psutil.Process], patience_s: float) -> list[psutil.Process]:
    deadline = time.monotonic() + patience_s
    left = list(processes)
    while True:
        left = [process for process in left if _runs(process)]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(POLL_S)


def _runs(process: psutil.Process) -> bool:
    exit_code(process.pid)
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
