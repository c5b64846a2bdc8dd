"""Other projects' stacks on this machine in the same run: wger, FastAPI with asyncpg, Litestar with Granian.

Each has its own virtual environment beside the data, filled from the package index on first use.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from bench import load
from bench.dataset import Dataset
from bench.servers import BARE, UNCACHED, gunicorn, server
from devstack import keys, ports
from devstack.ports import LOOPBACK

WGER = "wger, 50 exercises, signed in, its page cache off"
WGER_CACHED = "wger, the same from its page cache (an hour old at most)"
FASTAPI = "FastAPI + asyncpg, list of 50"
LITESTAR = "Litestar + Granian, list of 50"
OURS = "whole chain, list of 50, signed in"
OURS_CACHED = "the same, cached"

FASTAPI_NEEDS = ("fastapi==0.163.2", "uvicorn[standard]==0.54.0", "asyncpg==0.32.0")
LITESTAR_NEEDS = ("litestar==2.25.0", "granian==2.8.7", "asyncpg==0.32.0")
WGER_NEEDS = ("wger==2.1", "gunicorn==27.0.1", "psycopg2-binary==2.9.12", "setuptools==80.9.0")
WGER_DATABASE = "wger"
WGER_THREADS = "4"
WGER_FIXTURES = (
    *("gym.json", "languages.json", "groups.json", "users.json", "licenses.json", "days_of_week.json"),
    *("setting_repetition_units.json", "setting_weight_units.json", "language_config.json", "gym_config.json"),
    *("equipment.json", "muscles.json", "categories.json"),
)
WGER_EXERCISES = ("exercise-base-data.json", "exercises.json")
SIGN_IN = (
    "from django.contrib.auth.models import User; from rest_framework.authtoken.models import Token;"
    " print('token', Token.objects.get_or_create(user=User.objects.get(username='admin'))[0].key)"
)


def measure(dataset: Dataset, *, rounds: int, seconds: int) -> dict[str, Any]:
    """Measure the peers beside our own list; report the reason for one that cannot be installed or started."""
    missing: dict[str, str] = {}
    with ExitStack() as servers:
        bare = servers.enter_context(gunicorn("bench.apps.bare:app", {}))
        api = servers.enter_context(gunicorn("wsgi:app", dataset.settings(**UNCACHED), name="beside-peers"))
        cached = servers.enter_context(gunicorn("wsgi:app", dataset.settings(), name="cached-beside-peers"))
        headers = dataset.headers(api)
        targets = [
            load.Target(BARE, f"{bare}/"),
            load.Target(OURS, f"{api}/api/students/?limit=50", headers),
            load.Target(OURS_CACHED, f"{cached}/api/students/?limit=50", headers),
        ]
        for name, peer in ((FASTAPI, _fastapi), (LITESTAR, _litestar), (WGER, _wger)):
            try:
                targets += [load.check(target) for target in servers.enter_context(peer(dataset))]
            except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
                missing[name] = f"{error} {getattr(error, 'stderr', None) or ''}".strip()[-load.SHOWN :]
        found = load.rows(load.interleaved(targets, rounds=rounds, seconds=seconds), against=BARE)
    for row in found.values():
        row["ours against it"] = round(found[OURS]["requests/s"] / row["requests/s"], 2)
        row["ours cached against it"] = round(found[OURS_CACHED]["requests/s"] / row["requests/s"], 2)
    for name, why in missing.items():
        print(f"{name}: not measured: {why}", file=sys.stderr)
    return found


def _exercises(python: Path) -> Path:
    """Write wger's own exercises in the form of its tables: its fixtures lack dates, and have one field too many."""
    fixtures = next(python.parent.parent.glob("lib/python*/site-packages/wger/exercises/fixtures"))
    rows = [row for name in WGER_EXERCISES for row in json.loads((fixtures / name).read_text(encoding="utf-8"))]
    for row in rows:
        if row["model"] in {"exercises.exercisebase", "exercises.exercise"}:
            day = row["fields"].get("creation_date") or "2022-01-01"
            row["fields"] |= {"creation_date": day, "update_date": f"{day}T00:00:00Z"}
    file = python.parent / "exercises.json"
    file.write_text(json.dumps(rows))
    return file


def _python(dataset: Dataset, name: str, needs: Sequence[str]) -> Path:
    """Return the Python of a peer's virtual environment, created again when its requirements have changed."""
    folder = dataset.stack.directory / "peers" / name
    python, ready = folder / "bin" / "python", folder / "ready.json"
    if not ready.exists() or json.loads(ready.read_text()) != list(needs):
        print(f"  installing {' '.join(needs)}", file=sys.stderr, flush=True)
        _run([sys.executable, "-m", "venv", "--clear", str(folder)])
        _run([str(python), "-m", "pip", "install", "--quiet", *needs])
        ready.write_text(json.dumps(list(needs)))
    return python


def _run(command: Sequence[str], **more: Any) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, **more).stdout


def _settings(dataset: Dataset) -> dict[str, str]:
    """Return the settings of the two small applications: without PgBouncer and policies, which is the fastest way."""
    url = dataset.stack.primary.dsn(dataset.stack.database, "system")
    return {"BENCH_ORGANIZATION": dataset.admins[0].organization_id, "PEER_DATABASE_URL": url}


@contextmanager
def _fastapi(dataset: Dataset) -> Iterator[list[load.Target]]:
    python, port = _python(dataset, "fastapi", FASTAPI_NEEDS), ports.unused()
    command = [str(python), "-m", "uvicorn", "peer_fastapi:app", "--port", str(port), "--no-access-log"]
    with server(command, _settings(dataset), port=port, name="fastapi", folder=load.ROOT / "bench" / "apps") as url:
        yield [load.Target(FASTAPI, f"{url}/api/students/")]


@contextmanager
def _litestar(dataset: Dataset) -> Iterator[list[load.Target]]:
    python, port = _python(dataset, "litestar", LITESTAR_NEEDS), ports.unused()
    options = ["--interface", "asgi", "--port", str(port), "--workers", "1", "--no-access-log"]
    command = [str(python.parent / "granian"), *options, "peer_litestar:app"]
    with server(command, _settings(dataset), port=port, name="litestar", folder=load.ROOT / "bench" / "apps") as url:
        yield [load.Target(LITESTAR, f"{url}/api/students/")]


@contextmanager
def _wger(dataset: Dataset) -> Iterator[list[load.Target]]:
    python = _python(dataset, "wger", WGER_NEEDS)
    environment = {
        "DJANGO_SETTINGS_MODULE": "wger_settings",
        "PYTHONPATH": str(load.ROOT / "bench" / "apps"),
        "WGER_DATABASE": WGER_DATABASE,
        "WGER_USER": keys.SUPERUSER,
        "WGER_PASSWORD": keys.load(dataset.stack.workspace)[keys.SUPERUSER],
        "WGER_HOST": LOOPBACK,
        "WGER_PORT": str(dataset.stack.primary.port),
    }
    headers = {"Authorization": f"Token {_wger_data(dataset, python, environment)}"}
    with ExitStack() as servers:
        targets = []
        for name, backend in ((WGER, "dummy.DummyCache"), (WGER_CACHED, "locmem.LocMemCache")):
            port = ports.unused()
            options = ["--worker-class", "gthread", "--threads", WGER_THREADS, "--bind", f"{LOOPBACK}:{port}"]
            command = [str(python), "-m", "gunicorn", *options, "--no-control-socket", "wger.wsgi:application"]
            settings = {**environment, "WGER_CACHE": backend}
            log = f"wger-{backend.partition('.')[0]}"
            url = servers.enter_context(server(command, settings, port=port, name=log, folder=python.parent))
            targets.append(load.Target(name, f"{url}/api/v2/exercise/?limit=50", headers))
        yield targets


def _wger_data(dataset: Dataset, python: Path, environment: dict[str, str]) -> str:
    """Create wger's database with its own catalogue unless it exists; return its admin's token."""
    django = [str(python), "-m", "django"]
    options: dict[str, Any] = {"env": {**os.environ, **environment}, "cwd": python.parent}
    primary = dataset.stack.primary
    if not primary.query("SELECT 1 FROM pg_database WHERE datname = %s", WGER_DATABASE):
        print("  making wger's database", file=sys.stderr, flush=True)
        unfinished = f"{WGER_DATABASE}_new"
        primary.query(f"DROP DATABASE IF EXISTS {unfinished}")
        primary.query(f"CREATE DATABASE {unfinished}")
        new = {**options, "env": {**options["env"], "WGER_DATABASE": unfinished}}
        _run([*django, "migrate"], **new)
        _run([*django, "loaddata", *WGER_FIXTURES], **new)
        _run([*django, "loaddata", "--ignorenonexistent", str(_exercises(python))], **new)
        primary.query(f"ALTER DATABASE {unfinished} RENAME TO {WGER_DATABASE}")
    return _run([*django, "shell", "-c", SIGN_IN], **options).split("token ")[1].strip()
