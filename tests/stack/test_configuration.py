"""The servers run with the project's own files for PostgreSQL and Redis."""

import re

import pytest
import redis
from redis.backoff import NoBackoff
from redis.exceptions import NoPermissionError
from redis.retry import Retry

from tests.conftest import ROOT

POSTGRESQL = {
    "wal_level": "replica",
    "hot_standby": "on",
    "hot_standby_feedback": "on",
    "summarize_wal": "on",
    "max_connections": "200",
    "max_slot_wal_keep_size": "4GB",
    "max_standby_streaming_delay": "10s",
    "max_locks_per_transaction": "256",
    "wal_compression": "pglz",  # the meaning of "on"
    "jit": "off",
    "password_encryption": "scram-sha-256",
    "shared_preload_libraries": "pg_stat_statements",
    "pg_stat_statements.track_utility": "off",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "log_lock_waits": "on",
    "TimeZone": "UTC",
    "unix_socket_directories": "",
    "listen_addresses": "127.0.0.1",
}
REDIS = {
    "cache": {"maxmemory": str(256 << 20), "maxmemory-policy": "volatile-lfu", "appendonly": "no", "save": ""},
    "broker": {
        "maxmemory": str(512 << 20),
        "maxmemory-policy": "noeviction",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "900 1",
    },
}


@pytest.mark.parametrize("name", ["primary", "replica"])
def test_postgresql_runs_with_the_projects_file(stack, name):
    server = stack.part(name)

    shown = {setting: server.query(f"SHOW {setting}")[0][0] for setting in POSTGRESQL}

    assert shown == POSTGRESQL
    assert server.query("SELECT name, error FROM pg_file_settings WHERE error IS NOT NULL") == []


@pytest.mark.parametrize("name", ["primary", "replica"])
def test_every_line_of_postgresql_conf_is_in_force(stack, name):
    text = (ROOT / "postgresql.conf").read_text(encoding="utf-8")
    written = set(re.findall(r"^([a-z_.]+) *=", text, re.MULTILINE))

    found = stack.part(name).query(
        "SELECT name FROM pg_file_settings WHERE sourcefile ~ 'postgresql.conf$' AND applied"
    )

    assert len(written) > 50
    assert written - {row[0] for row in found} == set()


def test_the_replica_streams_through_its_slot_and_reports_its_oldest_snapshot(stack):
    (slot,) = stack.primary.query("SELECT slot_name, active, wal_status FROM pg_replication_slots")
    (sender,) = stack.primary.query("SELECT state, usename, application_name FROM pg_stat_replication")

    assert slot == ("campshub_replica", True, "reserved")
    assert sender == ("streaming", "campshub_replicator", "replica")


@pytest.mark.parametrize("kind", ["cache", "broker"])
def test_redis_runs_with_the_projects_files(stack, kind):
    part = stack.part(f"redis-{kind}")
    with redis.Redis.from_url(part.url, decode_responses=True) as client:
        shown = {name: client.config_get(name)[name] for name in REDIS[kind]}
        common = {name: client.config_get(name)[name] for name in ("protected-mode", "databases", "bind")}

    assert shown == REDIS[kind]
    assert common == {"protected-mode": "yes", "databases": "1", "bind": "127.0.0.1"}


@pytest.mark.parametrize(
    "command",
    [
        *("CONFIG GET requirepass", "ACL LIST", "ACL SETUSER campshub +@all", "CLIENT LIST", "MONITOR", "FLUSHALL"),
        *("KEYS *", "SCAN 0", "RANDOMKEY", "SUBSCRIBE any", "PUBLISH any x", "EVAL return 0", "SLOWLOG GET", "SAVE"),
        *("SET other x", "LPUSH other x", "RENAME default other", "GET campshub:other", "DEL unackedx"),
    ],
)
def test_the_broker_refuses_its_application(stack, command):
    with redis.Redis.from_url(stack.broker.application_url) as client, pytest.raises(NoPermissionError):
        client.execute_command(*command.split())


@pytest.mark.parametrize("kind", ["cache", "broker"])
def test_redis_requires_its_password(stack, kind):
    port, once = stack.part(f"redis-{kind}").port, Retry(NoBackoff(), 0)
    with redis.Redis(port=port, retry=once) as client, pytest.raises(redis.AuthenticationError):
        client.ping()
