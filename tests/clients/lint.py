"""Lint the API's document with Spectral and Redocly; both must report nothing. ``make lint`` runs it."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.document import openapi_document

HERE = Path(__file__).resolve().parent
MODULES = HERE / "node_modules"
NODE = Path(sys.executable).parent / "node"
LINTERS = {
    "spectral": ("@stoplight/spectral-cli/dist/index.js", "lint", "--fail-severity=hint", "--ruleset"),
    "redocly": ("@redocly/cli/bin/cli.js", "lint", "--max-problems=100", "--format=stylish", "--config"),
}
SETTINGS = {"spectral": HERE / "spectral.yaml", "redocly": HERE / "redocly.yaml"}
# Redocly exits with 0 where there are only warnings; its summary counts them.
WARNED = "warning"


def main() -> int:
    """Print what the linters report, and return 1 if there is anything."""
    if not MODULES.is_dir():
        print("tests/clients/node_modules is missing: make clients", file=sys.stderr)
        return 2
    environment = {**os.environ, "REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        document = Path(folder) / "openapi.json"
        document.write_text(json.dumps(openapi_document(), indent=1), encoding="utf-8")
        for name, (script, *arguments) in LINTERS.items():
            command = [str(NODE), str(MODULES / script), *arguments, str(SETTINGS[name]), str(document)]
            ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
            output = ran.stdout + ran.stderr
            if ran.returncode or (name == "redocly" and WARNED in output):
                print(f"{name}:\n{output}", file=sys.stderr)
                failed = True
    if not failed:
        print(f"openapi.json: {' and '.join(LINTERS)} report nothing")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
