"""Timeouts nest: each is longer than everything inside it. They are read where they take effect."""

import json
import re
import subprocess
import sys

import pytest
import yaml

from campshub.config import Settings
from campshub.core.db.engine import CONNECT_WITHIN_S
from campshub.core.http.dispatch import COMMIT_WITHIN_S
from tests.conftest import ROOT

GUNICORN = "import json, runpy; c = runpy.run_path('config/gunicorn.conf.py'); print(json.dumps([c['{}'], c['{}']]))"


def number(path: str, pattern: str) -> float:
    """Return the number of the only match of a pattern in a file."""
    (found,) = re.findall(pattern, (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE)
    return float(found)


def nginx(directive: str) -> float:
    return number("nginx.conf", rf"^ +{directive} (\d+)s;")


def role(setting: str) -> float:
    return number("migrations/bootstrap.sql", rf"^ALTER ROLE campshub_app SET {setting} = '(\d+)s';")


def grace(service: str) -> float:
    services = yaml.safe_load((ROOT / "docker-compose.high-performance.yml").read_text(encoding="utf-8"))["services"]
    return float(services[service]["stop_grace_period"].removesuffix("s"))


@pytest.fixture(scope="module")
def found() -> dict[str, float]:
    """Return all timeouts, under the names of the documentation's table."""
    command = [sys.executable, "-c", GUNICORN.format("graceful_timeout", "keepalive")]
    environment = {"TRUSTED_PROXIES": "1", "PATH": "/usr/bin"}
    read = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    graceful, keepalive = json.loads(read.stdout)
    upstream = (ROOT / "nginx.conf").read_text(encoding="utf-8").partition("upstream api {")[2].partition("}")[0]
    return {
        "proxy_next_upstream_timeout": nginx("proxy_next_upstream_timeout"),
        "proxy_read_timeout": nginx("proxy_read_timeout"),
        "proxy_connect_timeout": nginx("proxy_connect_timeout"),
        "COMMIT_WITHIN_S": COMMIT_WITHIN_S,
        "DB_POOL_TIMEOUT_S": Settings.model_fields["db_pool_timeout_s"].default,
        "CONNECT_WITHIN_S": CONNECT_WITHIN_S,
        "query_wait_timeout": number("pgbouncer.ini", r"^query_wait_timeout = (\d+)$"),
        "statement_timeout": role("statement_timeout"),
        "lock_timeout": role("lock_timeout"),
        "graceful_timeout": graceful,
        "worker_shutdown_timeout": number("nginx.conf", r"^worker_shutdown_timeout (\d+)s;"),
        "web-1": grace("web-1"),
        "nginx": grace("nginx"),
        "worker_soft_shutdown_timeout": number(
            "campshub/core/jobs/celery_app.py", r"^ +worker_soft_shutdown_timeout=(\d+),"
        ),
        "worker": grace("worker"),
        "keepalive_timeout": float(re.search(r"keepalive_timeout (\d+)s;", upstream)[1]),
        "keepalive": keepalive,
    }


def test_each_timeout_is_longer_than_those_inside_it(found):
    database = ("DB_POOL_TIMEOUT_S", "CONNECT_WITHIN_S", "query_wait_timeout", "statement_timeout")
    assert sum(found[name] for name in database) <= found["COMMIT_WITHIN_S"]
    assert found["lock_timeout"] < found["statement_timeout"]
    assert found["COMMIT_WITHIN_S"] < found["proxy_read_timeout"]
    assert found["proxy_connect_timeout"] + found["proxy_read_timeout"] < found["proxy_next_upstream_timeout"]


def test_stopping_waits_long_enough(found):
    assert found["proxy_read_timeout"] < found["graceful_timeout"] < found["web-1"]
    assert found["proxy_read_timeout"] < found["worker_shutdown_timeout"] < found["nginx"]
    assert found["worker_soft_shutdown_timeout"] < found["worker"]


def test_nginx_closes_a_connection_before_gunicorn_does(found):
    assert found["keepalive_timeout"] < found["keepalive"]


def test_the_table_of_the_documentation_has_these_values(found):
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| [^|]+ \| (\d+) \| (.+) \|$", text.partition("## Time-outs")[2].partition("\n## ")[0], re.MULTILINE
    )
    documented = {
        next(name for name in re.findall(r"`([\w-]+)`", where) if name in found): float(s) for s, where in rows
    }

    assert documented == found


def test_a_change_that_took_too_long_is_refused_and_leaves_nothing(api, monkeypatch):
    monkeypatch.setattr("campshub.core.http.dispatch.COMMIT_WITHIN_S", 0.0)
    body = {"code": "late", "given_name": "Asha", "family_name": "Rao"}

    response = api.post("/api/students/", body)

    assert (response.status, response.problem["code"]) == (503, "unavailable")
    assert response.headers["Retry-After"]
    monkeypatch.undo()
    assert api.get("/api/students/").json["items"] == []
    assert api.post("/api/students/", body).status == 201
