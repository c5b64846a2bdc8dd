"""``python -m devstack``: run, stack, stop, status, check."""

import argparse
import os
import shutil
import sys
import time
from pathlib import Path

from devstack import check, launch
from devstack.errors import StackError
from devstack.stack import Stack
from devstack.workspace import REPOSITORY

DEFAULT_PORT = 8000
LAST_PORT = 65535
BACKGROUND = "celery_worker"
NOT_RUNNING = 3  # the exit code of init scripts


def main() -> int:
    """Run one command and return the exit code."""
    begun = time.monotonic()
    parser = argparse.ArgumentParser(prog="python -m devstack", description=__doc__)
    commands = {
        "run": "PostgreSQL, Redis and one API process, with demo data",
        "stack": "the same with replica, PgBouncer, nginx and two API processes",
        "stop": "stop what runs in this folder",
        "status": "print what runs",
        "exec": "run a command with the stack's settings, starting the databases when they do not run",
        "remove": "stop everything and remove the folder with all its data",
        "check": "check the configuration files with the programs that read them",
    }
    described = parser.add_subparsers(dest="command", required=True)
    for name, text in commands.items():
        added = described.add_parser(name, help=text, description=text)
        if name == "exec":
            added.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND ...")
    arguments = parser.parse_args()
    command = str(arguments.command)
    try:
        if command == "run":
            return launch.supervise(_small(), _whole(), begun=begun)
        if command == "stack":
            return launch.supervise(_whole(), _whole(), begun=begun)
        if command == "exec":
            if not arguments.words:
                parser.error("exec needs a command")
            return launch.execute(_small(), arguments.words)
        return {"stop": _stop, "status": _status, "remove": _remove, "check": check.main}[command]()
    except StackError as error:
        print(error, file=sys.stderr)
        return 1


def _directory() -> Path:
    return Path(os.environ.get("DEVSTACK_DIR") or REPOSITORY / ".devstack")


def _port() -> int:
    text = os.environ.get("PORT") or str(DEFAULT_PORT)
    if not text.isdecimal() or not 0 < int(text) <= LAST_PORT:
        raise StackError(f"PORT must be a number from 1 to {LAST_PORT}, not {text!r}")
    return int(text)


def _small() -> Stack:
    return Stack(_directory(), replica=False, pgbouncer=False, api=1, background=BACKGROUND, port=_port())


def _whole() -> Stack:
    return Stack(_directory(), replica=True, pgbouncer=True, nginx=True, api=2, background=BACKGROUND, port=_port())


def _stop() -> int:
    print("stopped" if launch.stop(_whole()) else "nothing was running")
    return 0


def _remove() -> int:
    stack = _whole()
    launch.stop(stack)
    shutil.rmtree(stack.workspace.runtime, ignore_errors=True)
    shutil.rmtree(stack.directory, ignore_errors=True)
    return 0


def _status() -> int:
    stack = _whole()
    ports = {part.name: part.running_port() for part in stack.parts}
    for name, port in ports.items():
        print(f"{name:18} {f'running on {port}' if port else 'stopped'}")
    return 0 if any(ports.values()) else NOT_RUNNING


if __name__ == "__main__":
    sys.exit(main())
