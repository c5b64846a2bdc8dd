"""The application with its shipped configuration, for any user: env.example in a shell, and compose's settings.

``test_deployment`` runs all services with their mounts and users; that needs namespaces, and so root.
"""

import contextlib
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from devstack import ports
from devstack.http_client import status_of
from tests.conftest import ROOT
from tests.stack import compose
from tests.stack.http_client import fetch
from tests.stack.test_deployment import secrets_in
from tests.waiting import until

PATIENCE_S = 120
SOURCED = 'set -a; . ./env.example; . "$0"; exec "$@"'
HERE = {"POSTGRES_HOST", "POSTGRES_PORT", "POSTGRES_DIRECT_HOST", "POSTGRES_DIRECT_PORT", "POSTGRES_DB", "REDIS_URL",
        "CELERY_BROKER_URL", "POSTGRES_REPLICA_HOST", "POSTGRES_REPLICA_PORT"}  # fmt: skip
PATH = f"{Path(sys.executable).parent}:/usr/bin:/bin"


@contextlib.contextmanager
def running(command, log, **options):
    """Run a process during the block."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, **options)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def wait_until_it_responds(process, log, url, path="/ready/"):
    """Wait until a process responds."""

    def ready():
        assert process.poll() is None, log.read_text()
        return status_of(url, path) == 200

    until(ready, PATIENCE_S)


@pytest.fixture
def sourced(stack, database, tmp_path):
    """Return a command that sources env.example, and then sets only secrets and the addresses of this stack."""
    theirs = {
        name: value
        for name, value in stack.environment(database).items()
        if name in HERE or name.endswith(("_PASSWORD", "SECRET_KEY", "_KEYS"))
    }
    theirs |= {"PORT": str(ports.unused()), "GUNICORN_WORKERS": "1"}
    file = tmp_path / "secrets"
    file.write_text("".join(f"{name}={shlex.quote(value)}\n" for name, value in theirs.items()))
    return ["/bin/sh", "-euc", SOURCED, str(file)], f"http://127.0.0.1:{theirs['PORT']}"


def test_the_example_starts_the_application_with_only_secrets_added(sourced, tmp_path):
    command, url = sourced
    before = set(ROOT.iterdir())
    environment = {"PATH": PATH, "FLASK_APP": "wsgi.py"}
    server = [*command, "gunicorn", "-c", "config/gunicorn.conf.py", "wsgi:app"]
    with running(server, tmp_path / "log", cwd=ROOT, env=environment) as process:
        wait_until_it_responds(process, tmp_path / "log", url)
        for path in ("/live", "/health", "/metrics", "/metrics/"):
            assert fetch(url, path).status == 200, path
        refused = fetch(url, "/api/auth/token/", "POST", body={"email": "a@b.example", "password": "x"})
        assert (refused.status, refused.problem["code"]) == (403, "tls_required")  # no proxy terminates TLS here

    checked = subprocess.run(
        [*command, "flask", "check-config"], cwd=ROOT, env=environment, capture_output=True, check=False
    )
    assert checked.returncode == 0, checked.stdout
    assert {path for path in set(ROOT.iterdir()) - before if path.suffix == ".db"} == set()


@pytest.fixture
def service_settings(stack, scratch, tmp_path, tmp_path_factory):
    """Return compose's command and environment of a service, with its folders and addresses on this machine."""
    secrets = secrets_in(tmp_path_factory.mktemp("secrets"))
    ours = stack.environment(scratch)
    for name, role in (
        ("app", "POSTGRES"),
        *((r, f"POSTGRES_{r.upper()}") for r in ("system", "migrator", "maintenance")),
    ):
        (secrets / f"postgres_{name}_password").chmod(0o600)
        (secrets / f"postgres_{name}_password").write_text(ours[f"{role}_PASSWORD"])
    for name in ("redis_url", "celery_broker_url"):
        (secrets / name).chmod(0o600)
        (secrets / name).write_text(ours[name.upper()])
    chosen = {name: ours[name] for name in HERE if name.startswith("POSTGRES_")}
    services = compose.read({**chosen, "DB_PREPARE_THRESHOLD": "", "ALLOWED_HOSTS": "127.0.0.1"})["services"]
    image = compose.dockerfile("web")
    compose.copy_context(tmp_path / "srv" / "campshub")
    for folder in image.folders:
        (tmp_path / folder[1:]).mkdir(parents=True, exist_ok=True)
    (tmp_path / "run" / "campshub").mkdir(parents=True)

    def service_settings(name):
        environment = {**image.environment, **services[name]["environment"]}
        for folder, moved in (
            ("/run/secrets", secrets),
            ("/run/campshub", tmp_path / "run/campshub"),
            ("/srv", tmp_path / "srv"),
        ):
            environment = {n: str(v).replace(folder, str(moved)) for n, v in environment.items()}
        command = services[name].get("command", list(image.command))
        return command, {**environment, "PATH": PATH, "PYTHONPATH": str(tmp_path / "srv/campshub")}

    return service_settings


def test_the_applications_services_start_with_compose_settings(service_settings, tmp_path):
    folder = tmp_path / image_folder()
    command, environment = service_settings("migrate")
    migrated = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert migrated.returncode == 0, migrated.stderr

    with contextlib.ExitStack() as stack:
        port = ports.unused()
        for name in ("web-1", "worker-maintenance", "beat"):
            command, environment = service_settings(name)
            environment |= {"BIND": f"127.0.0.1:{port}", "GUNICORN_WORKERS": "1"}
            process = stack.enter_context(running(command, tmp_path / name, cwd=folder, env=environment))
            if name == "web-1":
                wait_until_it_responds(process, tmp_path / name, f"http://127.0.0.1:{port}")
        command, environment = service_settings("worker-maintenance")
        kind, *check = compose.read({"ALLOWED_HOSTS": "x"})["services"]["worker-maintenance"]["healthcheck"]["test"]
        assert kind == "CMD"

        def is_healthy():
            return subprocess.run(check, cwd=folder, env=environment, capture_output=True, check=False).returncode == 0

        until(is_healthy, PATIENCE_S)
        assert fetch(f"http://127.0.0.1:{port}", "/metrics").status == 200
    assert list((tmp_path / "run" / "campshub" / "metrics").glob("*.db"))


def image_folder() -> str:
    return compose.dockerfile("web").workdir[1:]
