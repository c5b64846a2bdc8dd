"""The temporary folders of reports: nothing remains in them, however a process ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from campshub.reports.tempdir import temporary_folder

HOLDER = """
from pathlib import Path
from campshub.reports.tempdir import temporary_folder
with temporary_folder() as room:
    Path(room, "sheet.xml").write_text("a name")
    print(room, flush=True)
    input()
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    return tmp_path


@pytest.fixture
def holder():
    """Another process with a folder in use, and that folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    yield process, Path(process.stdout.readline().strip())
    process.kill()
    process.communicate()


def test_a_folder_is_private_and_removed_after_use(temporary):
    with pytest.raises(KeyError), temporary_folder() as room:
        Path(room, "sheet.xml").write_text("a name")
        assert Path(room).parent.parent == temporary
        assert {path.stat().st_mode & 0o777 for path in (Path(room), Path(room).parent)} == {0o700}
        raise KeyError
    assert [path for path in temporary.rglob("*") if path.parent != temporary] == []


def test_the_next_process_removes_the_folder_of_a_killed_process(holder):
    process, left = holder
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert (left / "sheet.xml").exists()

    with temporary_folder() as room:
        assert list(left.parent.iterdir()) == [Path(room)]


def test_a_folder_in_use_stays(holder):
    _, used = holder
    with temporary_folder() as own, temporary_folder() as another:
        assert {Path(own), Path(another), used} == set(used.parent.iterdir())
    assert list(used.parent.iterdir()) == [used]
    assert (used / "sheet.xml").read_text() == "a name"


def test_a_folder_of_another_owner_is_not_used(temporary):
    elsewhere = temporary / "elsewhere"
    elsewhere.mkdir()
    (temporary / f"campshub-reports-{os.geteuid()}").symlink_to(elsewhere)

    with pytest.raises(PermissionError, match="belongs to another account"), temporary_folder():
        raise AssertionError("it was used")
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("what", ["file", "link"])
def test_a_file_or_link_in_the_root_does_not_matter(temporary, what):
    with temporary_folder() as room:
        root = Path(room).parent
    stray = root / "stray"
    stray.write_text("") if what == "file" else stray.symlink_to(temporary)

    with temporary_folder() as room:
        assert Path(room).is_dir()
    assert temporary.is_dir()
