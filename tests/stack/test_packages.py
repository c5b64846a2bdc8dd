import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

# Like apt-get, it fails while another one runs. Installing takes a moment.
APT_GET = """#!/bin/sh
mkdir "{folder}/busy" 2>/dev/null || exit 100
echo "$@" >> "{folder}/calls"
sleep 0.3
printf '#!/bin/sh\\n' > "{folder}/lattice" && chmod 755 "{folder}/lattice"
rmdir "{folder}/busy"
"""
FIND = """
import os, pathlib
from devstack import packages
folder = pathlib.Path({folder!r})
packages.FOLDERS = str(folder)
packages.LOCK, packages.POLICY = folder / "lock", folder / "policy-rc.d"
os.geteuid = lambda: 0
print(packages.find("lattice", "lattice"))
"""


def test_two_stacks_that_lack_a_program_install_it_once_and_both_find_it(tmp_path):
    apt_get = tmp_path / "apt-get"
    apt_get.write_text(APT_GET.format(folder=tmp_path))
    apt_get.chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", FIND.format(folder=str(tmp_path))]

    started = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    ended = [process.communicate(timeout=60) for process in started]

    assert [out.splitlines()[-1:] for out, _ in ended] == [[str(tmp_path / "lattice")]] * 2, ended
    assert len(Path(tmp_path / "calls").read_text().splitlines()) == 1
    assert not (tmp_path / "policy-rc.d").exists()
