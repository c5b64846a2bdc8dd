"""``python -m devstack.scaffold equipment``: write the files of a new module (docs/adding-a-module.md)."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from devstack.scaffold import shared
from devstack.scaffold.files import REVISIONS, new_files, shared_files
from devstack.scaffold.names import UnfitName, names_of
from devstack.workspace import REPOSITORY

PERMISSIONS = "docs/permissions.md"
# Settings with which the application starts without connecting to anything.
NOWHERE = {
    "POSTGRES_PORT": "1",
    "POSTGRES_PASSWORD": "x",
    "POSTGRES_SYSTEM_PASSWORD": "x",
    "POSTGRES_REPLICA_HOST": "",
    "SECRET_KEY": "not the real one",
    "JWT_PRIVATE_KEYS": "a:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    "FIELD_ENCRYPTION_KEYS": "a:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    "LOG_LEVEL": "WARNING",
    "DEBUG": "1",
}


def main() -> int:
    """Write a module and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m devstack.scaffold", description=__doc__)
    parser.add_argument("name", help="the module's name, such as equipment")
    parser.add_argument("row", nargs="?", help="the word for one row, such as device")
    arguments = parser.parse_args()
    try:
        names = names_of(arguments.name, arguments.row or None, REPOSITORY)
        created, changed = new_files(names), shared_files(names)
    except (UnfitName, shared.NoPlace) as error:
        print(error, file=sys.stderr)
        return 2
    for path, text in {**created, **changed}.items():
        (REPOSITORY / path).parent.mkdir(parents=True, exist_ok=True)
        (REPOSITORY / path).write_text(text, encoding="utf-8")
    _format([path for path in (*created, *changed) if path.endswith(".py") and not path.startswith(REVISIONS)])
    failure = _describe_permissions()
    for path in created:
        print(f"created  {path}")
    for path in changed:
        print(f"changed  {path}")
    if failure:
        print(f"The application does not start, so {PERMISSIONS} is not written: {failure}", file=sys.stderr)
        return 1
    print(f"changed  {PERMISSIONS}")
    print(f"Now: make lint, and make test TESTS=tests/{names.module}. docs/adding-a-module.md says how to go on.")
    return 0


def _format(paths: list[str]) -> None:
    """Sort the imports, whose order depends on the module's name, and break long lines."""
    ruff = str(Path(sys.executable).parent / "ruff")
    for command in (["check", "--quiet", "--select", "I", "--fix"], ["format", "--quiet"]):
        subprocess.run([ruff, *command, *paths], cwd=REPOSITORY, check=True)


def _describe_permissions() -> str:
    """Write docs/permissions.md from the routes and roles; return the error if the application does not start."""
    flask = [sys.executable, "-m", "flask", "--app", "campshub.app:create_app"]
    command = [*flask, "permissions", "write", PERMISSIONS]
    environment = {**os.environ, **NOWHERE}
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, check=False, capture_output=True, text=True)
    return done.stderr.strip().rpartition("\n")[2] if done.returncode else ""


if __name__ == "__main__":
    sys.exit(main())
