"""Clients that are generated from the served document, type-checked and run as their users would."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from devstack.http_client import new_client

ROOT = Path(__file__).parent.parent.parent
CLIENTS = ROOT / "tests" / "clients"
MODULES = CLIENTS / "node_modules"
BIN = Path(sys.executable).parent
PATIENCE_S = 300


@pytest.fixture
def run_program(demo, tmp_path):
    """A folder with the served document, the programs and what npm has installed."""
    assert (MODULES / ".ready").exists(), "tests/clients/node_modules is missing: make clients"
    running = json.loads((demo / ".devstack" / "state.json").read_text())
    with new_client(running["base_url"]) as client:
        (tmp_path / "openapi.json").write_bytes(client.get("/api/openapi.json").content)
    for file in ("main.ts", "main.py", "hey.ts", "tsconfig.json", "package.json", "openapi-ts.config.mjs"):
        shutil.copy(CLIENTS / file, tmp_path)
    (tmp_path / "node_modules").symlink_to(MODULES)
    state = str(demo / ".devstack" / "state.json")
    return lambda *command: _run(tmp_path, state, command)


def _run(folder: Path, state: str, command: tuple[str, ...]) -> list[str]:
    """Run a program of the virtual environment in the folder; return its output lines."""
    ran = subprocess.run(
        [BIN / command[0], *command[1:]],
        cwd=folder,
        env={**os.environ, "STATE": state},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout.splitlines()


def _output(lines: list[str]) -> dict[str, str]:
    """Check what the programs of all languages print in the same form; return all that this one printed."""
    output = dict(line.split(" ", 1) for line in lines)
    total, different = output["students"].split()
    assert int(total) >= 60
    assert total == different
    assert output["created"] == "201 200 Pune active"
    assert output["refused"] == "code_taken"
    assert output["patched"] == "200"
    assert output["marked"] == "0 created"
    return output


def _only(folder_of_program: str) -> str:
    """Return a compiler's settings for one program, since each has its own client."""
    return json.dumps({"extends": "./tsconfig.json", "include": [folder_of_program]})


def test_a_typescript_client_compiles_strictly_and_works(run_program, tmp_path):
    (tmp_path / "tsconfig.main.json").write_text(_only("main.ts"))
    run_program("node", "node_modules/openapi-typescript/bin/cli.js", "openapi.json", "--output", "schema.ts")
    run_program("node", "node_modules/typescript/bin/tsc", "--project", "tsconfig.main.json")

    output = _output(run_program("node", "main.ts"))

    assert output["set"] == "201 lb"
    assert output["report"] == "true true"
    assert output["file"] == "%PDF-"
    assert output["audit"] == "students object"


def test_the_typescript_client_needs_no_casts(tmp_path):
    for name in ("main.ts", "hey.ts"):
        program = (CLIENTS / name).read_text()
        lines = [line for line in program.splitlines() if not line.startswith("//")]
        needed = [line for line in lines if (" as " in line and "import " not in line) or "!." in line or "any" in line]
        assert needed == []


def test_a_client_of_named_operations_compiles_strictly_and_works(run_program, tmp_path):
    (tmp_path / "tsconfig.hey.json").write_text(_only("hey.ts"))
    run_program("node", "node_modules/@hey-api/openapi-ts/bin/run.js")
    run_program("node", "node_modules/typescript/bin/tsc", "--project", "tsconfig.hey.json")

    assert run_program("node", "hey.ts") == [
        "me admin students 3 true",
        "created 201 Eve patched 200",
        "refused code_taken",
        "set 225 lb",
    ]


def test_a_python_client_type_checks_strictly_and_works(run_program, tmp_path):
    (tmp_path / "config.yml").write_text("post_hooks: []\n")  # it would format temporary files
    made = run_program(
        *("openapi-python-client", "generate", "--meta", "none", "--path", "openapi.json", "--config", "config.yml"),
        *("--output-path", "generated_client", "--overwrite", "--fail-on-warning"),
    )
    assert "WARNING" not in "\n".join(made)
    run_program("mypy", "--strict", "--follow-imports=silent", "main.py")

    output = _output(run_program("python", "main.py"))

    assert output["set"] == "lb"
    assert output["report"] == "True True"
    assert output["file"] == "b'%PDF-'"
    assert output["audit"] == "students AuditEntryAfterType0"
