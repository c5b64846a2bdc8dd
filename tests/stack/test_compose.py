"""The compose file: no secret in it, none by the environment, and no setting that nobody reads."""

import base64
import re
import shutil
import subprocess

import pytest
import yaml

from campshub.config import Settings, load_settings
from devstack import packages
from tests.conftest import ROOT

SECRET = re.compile(r"PASSWORD|SECRET|PRIVATE|ENCRYPTION|TOKEN|REDIS_URL|BROKER_URL|DSN")
# https://hub.docker.com/_/postgres: what the image reads.
POSTGRES_IMAGE = {"POSTGRES_DB", "POSTGRES_USER", "POSTGRES_PASSWORD_FILE", "POSTGRES_INITDB_ARGS"}


@pytest.fixture(scope="module")
def compose():
    return yaml.safe_load((ROOT / "docker-compose.high-performance.yml").read_text(encoding="utf-8"))


def texts(thing):
    """Yield every text in a document."""
    if isinstance(thing, dict):
        thing = [*thing, *thing.values()]
    if isinstance(thing, list):
        for one in thing:
            yield from texts(one)
    elif isinstance(thing, str):
        yield thing


def read_by(service) -> set[str]:
    """Return the variables that a service's program reads."""
    image = service["image"]
    if image.startswith("postgres:"):
        return POSTGRES_IMAGE
    if image.startswith(("nginx:", "campshub-pgbouncer:")):
        script = ROOT / "deploy" / "compose" / ("nginx.sh" if image.startswith("nginx") else "pgbouncer.sh")
        return set(re.findall(r"\$\{?([A-Z_]+)", script.read_text(encoding="utf-8")))
    settings = {name.upper() for name in Settings.model_fields}
    gunicorn = re.findall(r"environ\.get\(\"([A-Z_]+)\"", (ROOT / "config/gunicorn.conf.py").read_text())
    return settings | {f"{name}_FILE" for name in settings} | set(gunicorn) | {"TMPDIR"}  # Python itself reads it


def test_every_variable_that_a_service_is_given_is_read_by_its_program(compose):
    unread = {
        (name, variable)
        for name, service in compose["services"].items()
        for variable in service.get("environment", {})
        if variable not in read_by(service)
    }

    assert unread == set()


def test_every_secret_comes_from_a_file_that_the_service_is_given(compose):
    found = 0
    for name, service in compose["services"].items():
        for variable, value in service.get("environment", {}).items():
            if not SECRET.search(variable):
                continue
            found += 1
            assert variable.endswith("_FILE"), f"{name}: {variable}"
            place, _, secret = value.rpartition("/")
            assert (place, secret in service["secrets"]) == ("/run/secrets", True), f"{name}: {variable}"
    assert found > 10
    for secret, where in compose["secrets"].items():
        assert where == {"file": f"deploy/compose/secrets/{secret}"}


def test_no_password_stands_in_the_file_or_is_there_by_default(compose):
    for text in texts(compose):
        assert not re.search(r"://[^/\s]*:[^/\s]*@", text), f"an address with a password: {text}"
        assert not re.search(r"\$\{[A-Z_]*(PASSWORD|SECRET|KEY)[A-Z_]*:?-[^}]", text), f"a default secret: {text}"
        assert not re.search(r"(?i)(password|requirepass|secret)\s*[=:]\s*[\"']?\w", text), f"a secret: {text}"
    assert "POSTGRES_HOST_AUTH_METHOD" not in set(texts(compose))


def test_what_no_service_uses_is_no_secret_and_only_nginx_is_reached_from_outside(compose):
    used = {secret for service in compose["services"].values() for secret in service.get("secrets", [])}

    assert used == set(compose["secrets"])
    assert {name for name, service in compose["services"].items() if "ports" in service} == {"nginx"}
    assert "edge" not in {network for name in compose["services"] if "postgres" in name or "redis" in name
                          for network in compose["services"][name]["networks"]}  # fmt: skip


@pytest.fixture(scope="module")
def secrets(tmp_path_factory):
    """The secrets that the script makes, beside a copy of it."""
    folder = tmp_path_factory.mktemp("compose")
    script = shutil.copy(ROOT / "deploy" / "compose" / "make_secrets.sh", folder)
    subprocess.run(["/bin/sh", script], check=True, capture_output=True)
    kept = {path.name: path.read_text() for path in (folder / "secrets").iterdir()}
    subprocess.run(["/bin/sh", script], check=True, capture_output=True)
    assert {path.name: path.read_text() for path in (folder / "secrets").iterdir()} == kept  # the second run keeps them
    return folder / "secrets"


def test_the_script_makes_every_secret_and_no_two_alike(compose, secrets):
    made = {path.name: path.read_text() for path in secrets.iterdir()}

    assert set(made) == set(compose["secrets"])
    assert len(set(made.values())) == len(made)
    assert min(map(len, made.values())) >= 32
    assert secrets.stat().st_mode & 0o777 == 0o700
    assert len(base64.urlsafe_b64decode(made["field_encryption_keys"].partition(":")[2] + "=")) == 32


def test_the_application_reads_its_settings_from_those_files(compose, secrets, monkeypatch):
    given = compose["services"]["migrate"]["environment"]
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    for variable, value in given.items():
        monkeypatch.setenv(variable, value.replace("/run/secrets", str(secrets)))

    settings = load_settings()

    assert settings.postgres_password == (secrets / "postgres_app_password").read_text()
    assert settings.postgres_migrator_password == (secrets / "postgres_migrator_password").read_text()
    assert settings.redis_url == (secrets / "redis_url").read_text()
    assert settings.replicas == [("pgbouncer-replica", 6432)]


@pytest.mark.parametrize("proxy", ["", "10.0.0.0/8"])
def test_what_nginxs_start_script_writes_is_accepted(tmp_path, proxy):
    """The script itself, with its folders moved here and nginx told to look only."""
    script = (ROOT / "deploy" / "compose" / "nginx.sh").read_text(encoding="utf-8")
    moves = {
        "/run/campshub": str(tmp_path / "run"),
        "/etc/campshub": str(ROOT),
        "/dev/stdout": "/dev/null",
        "/dev/stderr": str(tmp_path / "error.log"),
        "exec nginx": f"exec {packages.find('nginx', 'nginx-light')} -t",
    }
    for old, new in moves.items():
        assert old in script
        script = script.replace(old, new)
    given = {"PATH": "/usr/bin:/bin", "API_SERVERS": "127.0.0.1:8001 127.0.0.1:8002", "TRUSTED_PROXY": proxy}

    done = subprocess.run(["/bin/sh", "-c", script], env=given, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert "syntax is ok" in (
        done.stderr + (tmp_path / "error.log").read_text() if (tmp_path / "error.log").exists() else done.stderr
    )
    written = (tmp_path / "run" / "upstreams.conf").read_text()
    assert written.splitlines() == [f"server 127.0.0.1:{port} max_fails=3 fail_timeout=5s;" for port in (8001, 8002)]
    assert ("set_real_ip_from" in (tmp_path / "run" / "edge.conf").read_text()) == bool(proxy)
