"""Archiving that is killed at any point loses nothing, and the next run completes it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from campshub.core.partitions import archive, restore
from tests.conftest import ROOT

TABLE = "attendance_records"
# Runs in a separate process, and kills it at a stage or inside of one.
ARCHIVE = """
import os, signal, sys
from datetime import date
from campshub.app import create_app
from campshub.core import partitions
from campshub.core.partitions import archive, restore, store

where, month = sys.argv[1], date.fromisoformat(sys.argv[2])

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def on_stage(stage):
    if stage == where:
        die()

def half(blocks):
    for block in blocks:
        yield block[: len(block) // 2]
        die()

if where == "rows":
    zipped = store._zip
    store._zip = lambda blocks: half(zipped(blocks))
elif where == "manifest":
    store.Archives.finish = die
elif where == "reading":
    store.Archives.verify = die
elif where == "reference":
    run = archive.run
    archive.run = lambda driver, text, *names: die() if "student_id" in names[-1] else run(driver, text, *names)

elif where == "filled":
    archive.archive = lambda *given, **named: restore.restore(*given, **named)

app = create_app()
services = app.extensions["campshub"]
with app.app_context(), partitions.maintenance(services.settings) as connection:
    archive.archive(services, connection, table="attendance_records", month=month, report=on_stage)
print("completed")
"""


def killed(site, where):
    environment = {
        **os.environ,
        **{name: value for name, value in site.stack.environment(site.database).items() if value != ""},
        "ARCHIVE_URL": site.archive,
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-c", ARCHIVE, where, str(site.month)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == -signal.SIGKILL, (done.stdout, done.stderr)


def goes_on(site, before):
    site.archived(TABLE)
    assert site.contents(TABLE) == []
    assert not site.exists(TABLE)
    site.restored(TABLE)
    assert site.contents(TABLE) == before


def test_a_killed_restore_leaves_nothing_and_the_next_one_succeeds(site):
    before = site.contents(TABLE)
    site.archived(TABLE)
    killed(site, restore.FILLED)

    assert not site.exists(TABLE)
    site.restored(TABLE)
    assert site.contents(TABLE) == before


def folder(site):
    return Path(site.archive) / TABLE / f"{site.month:%Y-%m}"


def left(site):
    """The rest of the month: rows still in a detached table, and archives with a manifest."""
    rows = site.sql(f"SELECT count(*) FROM {site.name(TABLE)}")[0][0] if site.exists(TABLE) else 0
    with site.app.app_context():
        return rows, len(archive.Archives(site.services.settings).all())


@pytest.mark.parametrize(
    ("where", "remains"),
    [
        (archive.DETACHED, (14, 0)),
        ("rows", (14, 0)),
        ("manifest", (14, 0)),
        (archive.EXPORTED, (14, 1)),
        ("reading", (14, 1)),
        (archive.VERIFIED, (14, 1)),
        ("reference", (14, 1)),
        (archive.LOOSENED, (14, 1)),
        (archive.DROPPED, (0, 1)),
    ],
)
def test_a_kill_loses_nothing_and_the_next_run_completes(site, where, remains):
    before = site.contents(TABLE)
    killed(site, where)

    assert left(site) == remains
    if where == archive.DROPPED:
        site.restored(TABLE)
    goes_on(site, before)
    incomplete = [p for p in folder(site).iterdir() if not (p / "manifest.json").exists()]
    assert incomplete == []


def test_an_exported_month_is_not_exported_again_by_the_next_run(site):
    killed(site, archive.VERIFIED)
    known = site.archived(TABLE)

    assert [entry.name for entry in folder(site).iterdir()] == [known.id]


def test_a_partly_detached_partition_is_completed_by_the_next_run(site):
    before = site.contents(TABLE)
    with site.stack.primary.connect(site.database) as other:
        with other.transaction():
            other.execute(f"SELECT count(*) FROM {TABLE}")  # its snapshot still includes the partition
            killed(site, archive.WAITING)
        pending = site.sql("SELECT inhdetachpending FROM pg_inherits WHERE inhrelid = %s::regclass", site.name(TABLE))
    assert pending == [(True,)]

    goes_on(site, before)
