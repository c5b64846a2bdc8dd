"""``make run`` and ``make stack``: start everything, fill it with demo data, say where it is, and run until stopped."""

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from devstack import interruption, packages, processes
from devstack.errors import StackError
from devstack.stack import STATE_FILE, Stack
from devstack.workspace import REPOSITORY

SUPERVISOR = "supervisor.json"
DEMO = "demo.json"
SEEDING = "seeding.json"
LOOK_EVERY_S = 1.0
BEGIN_AGAIN_S = 5.0
STOP_PATIENCE_S = 90.0


def supervise(stack: Stack, everything: Stack, *, begun: float) -> int:
    """Start the stack, wait until a signal or a failure ends it, stop it, and return the exit code.

    :param everything: the stack of this folder with every part that any command starts.
    """

    def start_and_watch() -> int:
        stack.write_state(ready=False)
        _clear(stack, everything)
        _start(stack)
        demo = stack.workspace.read_json(DEMO) or None
        stack.write_state(ready=True, demo=demo)
        _greet(stack, demo, time.monotonic() - begun)
        for line in packages.fonts():
            _say(f"reports as PDF: {line}")
        stack.start_background()
        return _watch(stack)

    def shut_down() -> None:
        with contextlib.suppress(OSError):  # after SIGHUP the terminal may be gone
            print("\nstopping", flush=True)
        stack.write_state(ready=False)
        stack.stop()

    with _alone(stack):
        return interruption.run(start_and_watch, shut_down)


def stop(stack: Stack) -> bool:
    """End the supervisor if one runs, then whatever parts are left; say whether anything ran."""
    supervisor = _recorded(stack, SUPERVISOR)
    ran = supervisor is not None or any(part.is_running() for part in stack.parts)
    if supervisor is not None:
        supervisor.terminate()
        deadline = time.monotonic() + STOP_PATIENCE_S
        while _recorded(stack, SUPERVISOR) is not None and time.monotonic() < deadline:
            time.sleep(processes.POLL_S)
    stack.stop()
    if known := stack.workspace.read_json(STATE_FILE):
        stack.workspace.write_json(STATE_FILE, {**known, "ready": False})
    return ran


def _recorded(stack: Stack, name: str) -> psutil.Process | None:
    known = stack.workspace.read_json(name)
    return processes.find(int(known["pid"]), float(known["started"])) if known else None


def execute(stack: Stack, words: list[str]) -> int:
    """Run a command with the stack's settings and return its exit code.

    The databases are started when they do not run, and then stopped again afterwards.
    """
    were_running = stack.primary.is_running()

    def start_and_run() -> int:
        stack.start_data()
        program = shutil.which(words[0], path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")
        if program is None:
            raise StackError(f"{words[0]}: no such command")
        return _run_at_terminal(stack, [program, *words[1:]])

    def shut_down() -> None:
        if not were_running:
            stack.stop()

    return interruption.run(start_and_run, shut_down)


def _run_at_terminal(
    stack: Stack, command: Sequence[str], *, record: str | None = None, own_session: bool = False
) -> int:
    """Run a command with the stack's settings at this terminal and return its exit code.

    A signal ends the command before it ends us.

    :param record: the file that names the command's process.
    """
    environment = {**os.environ, **stack.environment(), "FLASK_APP": "wsgi.py"}
    child = None
    try:
        with interruption.deferred():
            child = subprocess.Popen(command, cwd=REPOSITORY, env=environment, start_new_session=own_session)
            if record:
                _record(stack, record, child.pid)
        return child.wait()
    except BaseException:
        if child is not None:
            processes.end_now(child)
        raise


@contextlib.contextmanager
def _alone(stack: Stack) -> Iterator[None]:
    """Hold the folder's one supervisor's lock.

    :raises StackError: another supervisor has it.
    """
    with (stack.directory / "supervisor.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = stack.workspace.read_json(SUPERVISOR).get("pid")
            raise StackError(
                f"a stack runs here already (process {pid}): make stop ends it; DEVSTACK_DIR=... starts another one"
            ) from None
        pid = os.getpid()
        _record(stack, SUPERVISOR, pid)
        yield


def _clear(stack: Stack, everything: Stack) -> None:
    """End what a killed supervisor has left: older code, what holds our port, parts that we would never stop."""
    front = {part.name for part in (*stack.apis, *([stack.nginx] if stack.nginx else []))}
    data = {part.name for part in stack.parts} - front - {part.name for part in stack.background}
    for part in reversed(everything.parts):
        if part.name not in data:
            part.stop()


def _start(stack: Stack) -> None:
    (stack.nginx or stack.apis[0]).free_port()  # a taken port is better said now than after the demo data
    _say("starting PostgreSQL and Redis")
    is_new = stack.start_data()
    if is_new:
        _forget(stack, DEMO)
    if stack.workspace.read_json(SEEDING):
        _say("the demo data is incomplete: starting over with an empty database")
        if (
            orphan := _recorded(stack, SEEDING)
        ) is not None:  # its supervisor was killed; it would write to the new one
            processes.kill([orphan])
        stack.drop_database(stack.database)
        stack.create_database(stack.database)
        _forget(stack, SEEDING)
        is_new = True
    _say("bringing the tables up to date")
    _flask(stack, "db", "upgrade")
    if is_new or not stack.workspace.read_json(DEMO):
        _seed(stack)
    _say("starting the API")
    stack.start_api()


def _seed(stack: Stack) -> None:
    _say("making demo data")
    # Written beside its place first, so that demo.json means that the data is whole.
    # Its size: the command reads FLASK_DEMO_SEED_STUDENTS and FLASK_DEMO_SEED_DAYS from the environment as well.
    unfinished = stack.directory / f"{DEMO}.new"
    unfinished.unlink(missing_ok=True)
    _flask(stack, "demo", "seed", "--credentials", str(unfinished), record=SEEDING)
    unfinished.chmod(0o600)
    unfinished.replace(stack.directory / DEMO)
    _forget(stack, SEEDING)


def _forget(stack: Stack, name: str) -> None:
    (stack.directory / name).unlink(missing_ok=True)


def _record(stack: Stack, name: str, pid: int) -> None:
    stack.workspace.write_json(name, {"pid": pid, "started": processes.started(pid)})


def _flask(stack: Stack, *arguments: str, record: str | None = None) -> None:
    """Run one of the application's commands at this terminal, recording its process if asked to.

    :raises StackError: it failed; it has said why.
    """
    # In a session of its own: Ctrl-C is for us, who end the command; it would only print where it was.
    code = _run_at_terminal(stack, [sys.executable, "-m", "flask", *arguments], record=record, own_session=True)
    if code:
        raise StackError(f"flask {' '.join(arguments[:2])} failed (exit code {code})")


def _greet(stack: Stack, demo: dict[str, object] | None, took_s: float) -> None:
    url = (stack.nginx or stack.apis[0]).url
    lines = [f"CampsHub is ready after {took_s:.1f} s", f"  API            {url}", f"  documentation  {url}/docs/"]
    if demo:
        lines.append(f"  sign in as     {demo.get('email')}  {demo.get('password')}")
    lines.append(f"  logs           {stack.workspace.runtime / 'logs'}")
    lines.append("  Ctrl-C stops everything")
    print("\n".join(["", *lines, ""]), flush=True)


def _watch(stack: Stack) -> int:
    """Say once when a part ends; begin a worker or beat again; give up when no API process is left."""
    said: set[str] = set()
    begun = time.monotonic()
    while True:
        time.sleep(LOOK_EVERY_S)
        gone = {part.name for part in stack.parts if not part.is_running()}
        for name in sorted(gone - said):
            print(f"{name} has ended:{stack.part(name).tail()}", flush=True)
        said = gone
        if time.monotonic() - begun > BEGIN_AGAIN_S and gone & {part.name for part in stack.background}:
            stack.start_background()
            begun = time.monotonic()
        if all(api.name in gone for api in stack.apis):
            return 1


def _say(line: str) -> None:
    print(f"- {line}", flush=True)
