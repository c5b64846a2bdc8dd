"""The lock files install unchanged: with old versions of pip, and when every package has a newer release.

``pip install --require-hashes`` resolves a complete lock again, finds the newer release and stops. The Makefile, the
Dockerfile and CI therefore install with ``--no-deps``.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.utils import canonicalize_name

from tests.conftest import ROOT

# The pip of the first release of each supported Python; an older pip is not possible.
OLDEST_PIP = {"3.11": "22.3", "3.12": "23.2.1", "3.13": "24.2"}
NEWER = "9999.0"
LOCKED = re.compile(r"^([a-z0-9._-]+)==(\S+)(?: ; (.+?))? \\$", re.MULTILINE)


def locked(python: str) -> dict[str, str]:
    """Return the versions that the development lock pins for a Python on this machine, by package."""
    full = run(interpreter(python), "-c", "import platform; print(platform.python_version())").stdout.strip()
    environment = {"python_version": python, "python_full_version": full}
    found = LOCKED.findall((ROOT / "requirements-dev.txt").read_text(encoding="utf-8"))
    return {
        canonicalize_name(name): version
        for name, version, marker in found
        if not marker or Marker(marker).evaluate(environment)
    }


def interpreter(python: str) -> str:
    """Return the path of a Python of this version, from pyenv or the PATH."""
    installed = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser().glob(f"versions/{python}.*/bin/python3")
    found = next((str(path) for path in installed), None) or shutil.which(f"python{python}")
    assert found, f"Python {python} is missing: pyenv install {python}, or put python{python} on the PATH"
    return found


def python_with_old_pip(folder: Path, python: str) -> Path:
    """Return a command like this Python whose new virtual environments have the oldest pip."""
    command = folder / "python"
    command.write_text(
        f'#!/bin/sh -e\n{interpreter(python)} "$@"\n'
        f'if [ "$2" = venv ]; then "$3/bin/pip" install --quiet "pip=={OLDEST_PIP[python]}"; fi\n',
        encoding="utf-8",
    )
    command.chmod(0o755)
    return command


def index_of_newer_releases(folder: Path) -> Path:
    """Create a package index in which each locked package has one newer, empty release."""
    for name in {name for python in OLDEST_PIP for name in locked(python)}:
        page = folder / name
        page.mkdir(parents=True)
        stem = f"{name.replace('-', '_')}-{NEWER}"
        with zipfile.ZipFile(page / f"{stem}-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{stem}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {NEWER}\n")
            wheel.writestr(f"{stem}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{stem}.dist-info/RECORD", "")
        digest = hashlib.sha256((page / f"{stem}-py3-none-any.whl").read_bytes()).hexdigest()
        link = f'<a href="{stem}-py3-none-any.whl#sha256={digest}">{stem}-py3-none-any.whl</a>'
        (page / "index.html").write_text(f"<!DOCTYPE html><html><body>{link}</body></html>", encoding="utf-8")
    return folder


def run(*command: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [str(word) for word in command]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def newer_releases(tmp_path_factory):
    """The pip settings that add the index of newer releases."""
    folder = index_of_newer_releases(tmp_path_factory.mktemp("index") / "simple")
    return {"PIP_EXTRA_INDEX_URL": folder.as_uri(), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


@pytest.mark.install
@pytest.mark.parametrize("python", OLDEST_PIP)
def test_make_installs_exactly_the_lock(python, newer_releases, tmp_path):
    venv = tmp_path / "venv"
    command = python_with_old_pip(tmp_path, python)

    made = run("make", f"VENV={venv}", f"PYTHON={command}", venv / ".ready", **newer_releases)

    assert made.returncode == 0, made.stdout + made.stderr
    pip = venv / "bin" / "pip"
    assert run(pip, "--version").stdout.startswith(f"pip {OLDEST_PIP[python]} ")
    newest = run(pip, "install", "--dry-run", "--no-deps", "--upgrade", "coverage", **newer_releases)
    assert f"Would install coverage-{NEWER}" in newest.stdout, newest.stdout + newest.stderr
    listed = json.loads(run(pip, "list", "--format=json").stdout)
    installed = {canonicalize_name(one["name"]): one["version"] for one in listed}
    assert installed == {**locked(python), "pip": OLDEST_PIP[python]}
    checked = run(pip, "check")
    assert checked.returncode == 0, checked.stdout
    started = run(venv / "bin" / "python", "-c", "import campshub.app, devstack.launch")
    assert started.returncode == 0, started.stderr


@pytest.mark.parametrize("file", ["Makefile", "Dockerfile"])
def test_every_install_from_a_lock_is_complete_and_verified(file):
    text = re.sub(r"\\\n\s*", "", (ROOT / file).read_text(encoding="utf-8"))
    installs = [line for line in text.splitlines() if re.search(r"pip install .*-r \S*requirements", line)]

    assert installs
    assert [line for line in installs if "--no-deps" not in line or "--require-hashes" not in line] == []
    assert text.count("pip check") == len(installs)
