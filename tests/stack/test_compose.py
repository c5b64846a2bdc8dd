"""The compose file: no secret in it or in the environment, and no setting that no program reads."""

import base64
import re
import shutil
import subprocess

import pytest
import redis
import yaml

from campshub.config import Settings, load_settings
from devstack import packages, ports
from tests.conftest import ROOT
from tests.stack.compose import read
from tests.waiting import until

SECRET = re.compile(r"(PASSWORD|SECRET_KEY|_KEYS|REDIS_URL|BROKER_URL|SMTP_URL|DSN)(_FILE)?$")
# Empty: there is no mail server by default.
EMPTY = "smtp_url"
# The variables of the image, from https://hub.docker.com/_/postgres.
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
    return settings | {f"{name}_FILE" for name in settings} | set(gunicorn) | {"TMPDIR"}  # Python reads it


def test_every_variable_of_a_service_is_read_by_its_program(compose):
    unread = {
        (name, variable)
        for name, service in compose["services"].items()
        for variable in service.get("environment", {})
        if variable not in read_by(service)
    }

    assert unread == set()


def test_every_secret_comes_from_a_file_of_the_service(compose):
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


def test_the_file_contains_no_password_and_no_default_password(compose):
    for text in texts(compose):
        assert not re.search(r"://[^/\s]*:[^/\s]*@", text), f"a URL with a password: {text}"
        assert not re.search(r"\$\{[A-Z_]*(PASSWORD|SECRET_KEY|_KEYS):?-[^}]", text), f"a default secret: {text}"
        assert not re.search(r"(?i)(password|requirepass|secret)\s*[=:]\s*[\"']?\w", text), f"a secret: {text}"
    assert "POSTGRES_HOST_AUTH_METHOD" not in set(texts(compose))


def test_unused_secrets_do_not_exist_and_only_nginx_is_exposed(compose):
    used = {secret for service in compose["services"].values() for secret in service.get("secrets", [])}

    assert used == set(compose["secrets"])
    assert {name for name, service in compose["services"].items() if "ports" in service} == {"nginx"}
    assert "edge" not in {network for name in compose["services"] if "postgres" in name or "redis" in name
                          for network in compose["services"][name]["networks"]}  # fmt: skip


@pytest.fixture(scope="module")
def secrets(tmp_path_factory):
    """The secrets that the script creates, next to a copy of it."""
    folder = tmp_path_factory.mktemp("compose")
    script = shutil.copy(ROOT / "deploy" / "compose" / "make_secrets.sh", folder)
    subprocess.run(["/bin/sh", script], check=True, capture_output=True)
    first = {path.name: path.read_text() for path in (folder / "secrets").iterdir()}
    subprocess.run(["/bin/sh", script], check=True, capture_output=True)
    assert {path.name: path.read_text() for path in (folder / "secrets").iterdir()} == first  # unchanged
    return folder / "secrets"


def test_the_script_creates_every_secret_and_no_two_are_equal(compose, secrets):
    made = {path.name: path.read_text() for path in secrets.iterdir()}

    assert set(made) == set(compose["secrets"])
    assert len(set(made.values())) == len(made)
    assert min(len(value) for name, value in made.items() if name != EMPTY) >= 32
    assert secrets.stat().st_mode & 0o777 == 0o700
    assert len(base64.urlsafe_b64decode(made["field_encryption_keys"].partition(":")[2] + "=")) == 32


def test_the_application_reads_its_settings_from_those_files(compose, secrets, monkeypatch):
    given = read({"ALLOWED_HOSTS": "camps.example.org", "MAIL_FROM": "Camp <camp@example.org>"})
    given = given["services"]["migrate"]["environment"]
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    for variable, value in given.items():
        monkeypatch.setenv(variable, value.replace("/run/secrets", str(secrets)))

    settings = load_settings()

    assert settings.postgres_password == (secrets / "postgres_app_password").read_text()
    assert settings.postgres_migrator_password == (secrets / "postgres_migrator_password").read_text()
    assert settings.redis_url == (secrets / "redis_url").read_text()
    assert settings.replicas == [("pgbouncer-replica", 6432)]
    assert settings.mail_from == "Camp <camp@example.org>"
    assert settings.rate_limit_user == Settings.model_fields["rate_limit_user"].default


NOT_FOR_ALL = {
    "web-1": {"POSTGRES_MIGRATOR_PASSWORD", "POSTGRES_MAINTENANCE_PASSWORD", "ARCHIVE_KEYS", "SMTP_URL"},
    "worker": {"POSTGRES_MIGRATOR_PASSWORD"},
    "migrate": {"POSTGRES_MAINTENANCE_PASSWORD", "ARCHIVE_KEYS", "SMTP_URL"},
}


@pytest.mark.parametrize("service", NOT_FOR_ALL)
def test_every_setting_of_the_application_can_be_set_in_compose(compose, service):
    given = compose["services"][service]["environment"]
    cannot = {
        name
        for name in map(str.upper, Settings.model_fields)
        if f"{name}_FILE" not in given and not re.match(rf"\$\{{{name}(:?-|:\?)", str(given.get(name)))
    }

    assert cannot == NOT_FOR_ALL[service]
    of_gunicorn = set(re.findall(r"environ\.get\(\"(GUNICORN_\w+)\"", (ROOT / "config/gunicorn.conf.py").read_text()))
    assert of_gunicorn - set(compose["services"]["web-1"]["environment"]) == set()


@pytest.mark.parametrize("kind", ["cache", "broker"])
def test_redis_start_script_gives_each_user_its_password(secrets, tmp_path, kind):
    """The shipped script runs with other folders, and with the secrets that the other script creates."""
    programs, config, run = tmp_path / "programs", tmp_path / "config", tmp_path / "run"
    for folder in (programs, config, run):
        folder.mkdir()
    (programs / "redis-server").symlink_to(packages.redis_server())
    for file in (ROOT / "redis.conf", *(ROOT / "config" / "redis").iterdir()):
        (config / file.name).symlink_to(file)
    port = ports.unused()
    folders = {"RUN_DIR": str(run), "DATA_DIR": str(run), "CONFIG_DIR": str(config), "SECRETS_DIR": str(secrets)}
    given = {"PATH": f"{programs}:/usr/bin:/bin", "LISTEN_PORT": str(port), **folders}
    script = ["/bin/sh", str(ROOT / "deploy" / "compose" / "redis.sh"), kind]
    process = subprocess.Popen(script, env=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        until(lambda: ports.is_open(port), explain=lambda: f"{process.poll()}")
        secret, user, admin_secret, users = {
            "cache": ("redis_url", "default", "redis_password", ["default"]),
            "broker": ("celery_broker_url", "campshub", "broker_admin_password", ["campshub", "default"]),
        }[kind]
        url = re.sub(r"@[^/]+", f"@127.0.0.1:{port}", (secrets / secret).read_text())
        password = (secrets / admin_secret).read_text()
        with redis.Redis.from_url(url) as client, redis.Redis(port=port, password=password) as admin:
            assert client.ping()
            assert {one["user"] for one in admin.client_list()} == {user, "default"}
            assert admin.acl_users() == users
    finally:
        process.terminate()
        process.communicate()


@pytest.mark.parametrize(
    "proxy",
    ["", "10.0.0.0/8", "10.0.0.0/8,192.0.2.1", "10.0.0.0/8 2001:db8::/32, fd00::/8", "2001:db8::7"],
)
@pytest.mark.parametrize("origins", ["", "https://Panel.example.org", "https://a.example, http://127.0.0.1:5173"])
def test_the_output_of_nginxs_start_script_is_valid(tmp_path, proxy, origins):
    """The shipped script runs with other folders, and nginx only checks the configuration."""
    programs, run = tmp_path / "programs", tmp_path / "run"
    programs.mkdir()
    (programs / "nginx").write_text(f'#!/bin/sh\nexec {packages.find("nginx", "nginx-light")} -t "$@"\n')
    (programs / "nginx").chmod(0o755)
    given = {
        "PATH": f"{programs}:/usr/bin:/bin",
        "RUN_DIR": str(run),
        "CONFIG_DIR": str(ROOT),
        "API_SERVERS": "127.0.0.1:8001 127.0.0.1:8002",
        "TRUSTED_PROXY": proxy,
        "CORS_ORIGINS": origins,
    }

    script = ["/bin/sh", str(ROOT / "deploy" / "compose" / "nginx.sh")]
    done = subprocess.run(script, env=given, capture_output=True, text=True, check=False)

    assert (done.returncode, "syntax is ok" in done.stderr) == (0, True), done.stderr
    written = (run / "upstreams.conf").read_text()
    assert written.splitlines() == [f"server 127.0.0.1:{port} max_fails=3 fail_timeout=5s;" for port in (8001, 8002)]
    edge = (run / "edge.conf").read_text()
    believed = re.findall(r"^set_real_ip_from (\S+);$", edge, re.MULTILINE)
    assert believed == proxy.replace(",", " ").split()
    assert re.findall(r'^"(http\S+)" "\1";$', edge, re.MULTILINE) == origins.lower().replace(",", " ").split()
