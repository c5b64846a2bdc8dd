"""The stack starts, stops and restarts after every kind of end, and keeps its data."""

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys

import psycopg
import pytest
import redis

from devstack import StackError, packages
from devstack.stack import Stack
from tests.conftest import ROOT
from tests.stack.conftest import processes_of, stack_in
from tests.stack.http_client import fetch
from tests.waiting import until

BARE = {"application": "bench.apps.bare:app", "ready_path": "/", "workers": 1, "durable": False}
PARTS = [
    "primary", "replica", "redis-cache", "redis-broker", "pgbouncer-primary", "pgbouncer-replica", "api-1", "api-2",
    "nginx",
]  # fmt: skip
# The structure that clients rely on; null values of a small stack may be null or have that type.
STATE = {
    "ready": bool, "base_url": str, "docs_url": str, "nginx_url": str, "api_urls": list,
    "postgres": {"primary_dsn": str, "replica_dsn": str, "pgbouncer_dsn": str},
    "redis": {"cache_url": str, "broker_url": str},
    "demo": None,
}  # fmt: skip


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """Every part, with a constant application."""
    with stack_in(tmp_path_factory.mktemp("lifecycle"), nginx=True, api=2, **BARE) as stack:
        stack.start()
        stack.primary.query("CREATE TABLE stored (word text)", database=stack.database)
        stack.primary.query("GRANT SELECT ON stored TO campshub_app", database=stack.database)
        yield stack


def pids(stack) -> dict[str, int | None]:
    return {part.name: (found := part.process()) and found.pid for part in stack.parts}


def store(stack, word: str) -> None:
    stack.primary.query("INSERT INTO stored VALUES (%s)", word, database=stack.database)
    with redis.Redis.from_url(stack.broker.url) as broker:
        broker.rpush("stored", word)


def stored_words(stack) -> list[str]:
    """Return the stored words: PgBouncer to both servers and the broker agree, and nginx responds."""
    stack.catch_up()
    found = []
    for pgbouncer in stack.pgbouncers:
        with psycopg.connect(pgbouncer.dsn(stack.database), prepare_threshold=None) as connection:
            found.append([row[0] for row in connection.execute("SELECT word FROM stored")])
    with redis.Redis.from_url(stack.broker.url, decode_responses=True) as broker:
        found.append(broker.lrange("stored", 0, -1))
    with redis.Redis.from_url(stack.cache.url) as cache:
        assert cache.ping()
    assert fetch(stack.nginx.url, "/").status == 200
    assert found == [found[0]] * 3
    return found[0]


def kill_9(stack, *names: str) -> None:
    """Kill only the parts' first processes, like `kill -9`, and not their children."""
    for name in names:
        os.kill(stack.part(name).process().pid, signal.SIGKILL)
    until(lambda: not any(stack.part(name).is_running() for name in names))


def test_the_stack_has_the_expected_parts(stack):
    assert [part.name for part in stack.parts] == PARTS


def test_a_second_start_changes_nothing(stack):
    store(stack, "again")
    before = pids(stack)

    stack.start()

    assert pids(stack) == before
    assert None not in before.values()
    assert "again" in stored_words(stack)


def test_another_process_with_the_same_folder_has_the_same_stack(stack):
    same = Stack(stack.directory, nginx=True, api=2, **BARE)

    assert pids(same) == pids(stack)
    assert (same.environment(), same.nginx.url) == (stack.environment(), stack.nginx.url)


@pytest.mark.parametrize("name", PARTS)
def test_a_killed_part_is_restarted_with_its_data(stack, name):
    store(stack, name)
    before = pids(stack)
    kill_9(stack, name)

    stack.start()

    after = pids(stack)
    assert None not in after.values()
    assert after[name] != before[name]
    assert stored_words(stack).count(name) == 1


def test_a_stack_whose_parts_were_all_killed_is_restarted(stack):
    store(stack, "all")
    kill_9(stack, *PARTS)

    stack.start()

    assert None not in pids(stack).values()
    assert "all" in stored_words(stack)


def test_a_stop_leaves_no_process_and_a_restart_has_the_same_data(stack):
    store(stack, "stopped")
    addresses = stack.environment()
    assert len(processes_of(stack.workspace)) > len(PARTS)

    for _ in range(2):  # a second stop does nothing
        stack.stop()
        assert processes_of(stack.workspace) == []
    stack.start()

    assert stack.environment() == addresses
    assert "stopped" in stored_words(stack)


def test_processes_left_behind_by_a_killed_part_are_stopped_too(stack):
    kill_9(stack, *PARTS)

    stack.stop()

    assert processes_of(stack.workspace) == []
    stack.start()


def shape(found, expected) -> bool:
    if isinstance(expected, dict):
        return list(found) == list(expected) and all(shape(found[key], value) for key, value in expected.items())
    return found is None if expected is None else isinstance(found, expected)


def test_state_json_has_the_specified_structure(stack):
    stack.write_state(ready=True)
    known = json.loads((stack.directory / "state.json").read_text(encoding="utf-8"))

    assert shape(known, STATE)
    assert known["base_url"] == known["nginx_url"] == stack.nginx.url
    assert known["docs_url"] == f"{stack.nginx.url}/docs/"
    assert known["api_urls"] == [api.url for api in stack.apis]
    assert all(fetch(url, "/").status == 200 for url in [known["base_url"], *known["api_urls"]])
    for name, dsn in known["postgres"].items():
        with psycopg.connect(dsn) as connection:
            (is_replica, user) = connection.execute("SELECT pg_is_in_recovery(), current_user").fetchone()
        assert is_replica == (name == "replica_dsn")
        assert user == ("campshub_app" if name == "pgbouncer_dsn" else "postgres")
    for url in known["redis"].values():
        with redis.Redis.from_url(url) as client:
            assert client.ping()


def test_secrets_are_readable_only_by_their_owner_and_in_no_command_line(stack):
    stack.write_state(ready=True)
    secret = set(json.loads((stack.directory / "secrets.json").read_text(encoding="utf-8")).values())

    for name in ("secrets.json", "state.json"):
        assert stat.S_IMODE((stack.directory / name).stat().st_mode) == 0o600
    for name in ("pgbouncer-primary/userlist.txt", "redis-cache/start.conf", "replica/postgresql.conf"):
        assert stat.S_IMODE((stack.workspace.runtime / name).stat().st_mode) == 0o600
    assert len(secret) == 12
    assert not any(value in line for line in processes_of(stack.workspace) for value in secret)


def devstack(folder, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """Run ``python -m devstack`` as a user does."""
    return subprocess.run(
        [sys.executable, "-m", "devstack", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment, "DEVSTACK_DIR": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_two_stacks_side_by_side_are_independent(stack, tmp_path):
    store(stack, "ours")
    before = pids(stack)
    with stack_in(tmp_path / "other", replica=False, pgbouncer=False) as other:
        shown = devstack(other.directory, "exec", "printenv", "POSTGRES_PORT", "POSTGRES_PASSWORD")
        assert shown.stdout.split() == [str(other.primary.port), other.environment()["POSTGRES_PASSWORD"]], shown.stderr
        assert processes_of(other.workspace) == []  # the parts that the command started are stopped after it

        other.start()
        assert not set(other.workspace.read_json("ports.json").values()) & set(
            stack.workspace.read_json("ports.json").values()
        )
        assert other.primary.query("SELECT to_regclass('stored')", database=other.database) == [(None,)]
        assert devstack(other.directory, "status").stdout.count("running on") == 3
        assert devstack(other.directory, "stop").stdout == "stopped\n"
        assert processes_of(other.workspace) == []
        assert devstack(other.directory, "stop").stdout == "nothing was running\n"
        assert devstack(other.directory, "status").returncode == 3

    assert pids(stack) == before
    assert "ours" in stored_words(stack)


@pytest.mark.parametrize("port", ["taken", "0", "65536", "http"])
def test_an_unavailable_port_is_reported_in_one_line(tmp_path, port):
    with (
        stack_in(tmp_path / "busy", replica=False, pgbouncer=False) as stack,
        socket.create_server(("127.0.0.1", 0)) as busy,
    ):
        taken = str(busy.getsockname()[1])
        result = devstack(stack.directory, "run", PORT=taken if port == "taken" else port)

        assert result.returncode == 1
        (line,) = result.stderr.splitlines()
        if port == "taken":
            assert line.startswith(f"port {taken} is taken by python")
            assert f"(process {os.getpid()}): stop that, or choose another with PORT=..." in line
        else:
            assert line == f"PORT must be a number from 1 to 65535, not '{port}'"
        assert processes_of(stack.workspace) == []
        assert not (stack.workspace.runtime / "primary" / "data").exists()  # reported before anything is created


@pytest.mark.parametrize("program", ["nginx", "pgbouncer"])
def test_a_missing_program_is_reported_in_one_line_before_anything_starts(tmp_path, monkeypatch, program):
    programs = tmp_path / "programs"
    programs.mkdir()
    for other in {"nginx", "pgbouncer", "redis-server"} - {program}:
        (programs / other).symlink_to(shutil.which(other, path=packages.FOLDERS) or packages.redis_server())
    monkeypatch.setattr(packages, "FOLDERS", str(programs))
    monkeypatch.setattr(packages.os, "geteuid", lambda: 1000)  # root would install it

    with stack_in(tmp_path / "stack", nginx=True, api=1, **BARE) as stack:
        with pytest.raises(StackError) as failure:
            stack.start()
        (line,) = str(failure.value).splitlines()
        assert line.startswith(f"{program} is missing: sudo apt-get install --no-install-recommends {program}")
        assert processes_of(stack.workspace) == []
        stack.stop()  # needs no program


def test_an_unknown_command_is_reported_in_one_line(tmp_path):
    with stack_in(tmp_path / "stack", replica=False, pgbouncer=False) as stack:
        assert devstack(stack.directory, "exec").stderr.splitlines()[-1].endswith("error: exec needs a command")
        assert devstack(stack.directory, "exec", "no-such").stderr == "no-such: no such command\n"
        assert processes_of(stack.workspace) == []
