"""Run the services of compose and the Dockerfile, from the entry points to a sign-in and a finished job."""

import json
import shutil
import subprocess
from types import SimpleNamespace

import pytest

from campshub.core.db.models import new_id
from tests.conftest import PASSWORD, ROOT
from tests.emails import emails_in, link_in
from tests.stack import compose
from tests.stack.containers import Containers, can_run
from tests.stack.http_client import fetch
from tests.waiting import until

HOST = "camps.example.org"
TLS = {"Host": HOST, "X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.7, 10.89.7.1"}


def secrets_in(folder):
    """Create the secrets with the shipped script."""
    script = shutil.copy(ROOT / "deploy" / "compose" / "make_secrets.sh", folder)
    subprocess.run(["/bin/sh", script], check=True, capture_output=True)
    return folder / "secrets"


VARIABLES = {
    "ALLOWED_HOSTS": HOST,
    "PUBLIC_URL": f"https://{HOST}",
    "CORS_ORIGINS": "https://panel.example.org",
    "TRUSTED_PROXY": "10.89.7.1/32, fd00::/8",
    "GUNICORN_WORKERS": "1",
    "PASSWORD_COST": "4",
    "DB_PREPARE_THRESHOLD": "",  # this machine's PgBouncer may be older than the image's
}


@pytest.fixture(scope="module")
def deployed(tmp_path_factory):
    """All services of the compose file, started in its order."""
    folder = tmp_path_factory.mktemp("deployed")
    containers = Containers(folder, compose.read(VARIABLES), secrets_in(tmp_path_factory.mktemp("secrets")))
    try:
        for name in containers.services:
            if name not in containers.processes:
                containers.start(name)
        for name, service in containers.services.items():
            if "healthcheck" in service:
                containers.wait_until_healthy(name)
        yield containers
    finally:
        containers.close()


@pytest.fixture(scope="module")
def admin(deployed):
    """An organization and its admin, created as docs/operations.md describes."""
    command = ("flask", "organizations", "create", "--name", "Hill Camp", "--time-zone", "Asia/Kolkata", "--json")
    made = deployed.run("worker", *command)
    assert made.returncode == 0, made.stderr
    organization_id = json.loads(made.stdout)["id"]
    email = f"head-{new_id().hex}@example.org"
    named = ("--organization", organization_id, "--email", email, "--password", PASSWORD)
    done = deployed.run("worker", "flask", "users", "create-admin", *named)
    assert done.returncode == 0, done.stderr
    return SimpleNamespace(email=email, organization_id=organization_id)


def through_nginx(deployed, path, method="GET", **options):
    headers = {**TLS, **options.pop("headers", {})}
    return deployed.call(fetch, f"http://{deployed.addresses['nginx']}:8080", path, method, headers=headers, **options)


def is_deployed_as_the_file_says(deployed):
    for name, service in deployed.services.items():
        if service.get("restart") == "no":
            continue
        image, status = compose.image_of(service), deployed.run(name, "cat", "/proc/1/status").stdout
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert fields["Uid"].split() == [str(image.uid)] * 4, name
        assert (int(fields["CapEff"], 16), int(fields["CapBnd"], 16), fields["NoNewPrivs"]) == (0, 0, "1"), name
        for path in ("/x", "/srv/campshub/x", "/etc/campshub/x"):
            assert "Read-only file system" in deployed.run(name, "touch", path).stderr, (name, path)


def signs_in_and_writes(deployed, admin):
    for path in ("/live", "/ready/", "/health"):
        assert through_nginx(deployed, path).status == 200
    signed_in = through_nginx(deployed, "/api/auth/token/", "POST", body={"email": admin.email, "password": PASSWORD})
    assert signed_in.status == 200, signed_in.body
    bearer = {"Authorization": f"Bearer {signed_in.json['access_token']}"}
    body = {"code": "S1", "given_name": "Asha", "family_name": "Rao"}
    assert through_nginx(deployed, "/api/students/", "POST", headers=bearer, body=body).status == 201
    listed = through_nginx(deployed, "/api/students/", headers=bearer)
    # nginx trusts X-Forwarded-For only from the trusted proxies.
    assert '"remote_address":"203.0.113.7"' in deployed.log("nginx")
    assert [item["code"] for item in listed.json["items"]] == ["S1"]


def a_job_is_done(deployed, admin):
    """The worker sends the email of a password reset: without a mail server, into the volume."""
    response = through_nginx(deployed, "/api/auth/password/forgot/", "POST", body={"email": admin.email})
    assert response.status in (200, 202, 204), response.body
    mail = deployed.folder / "volumes" / "mail"
    (message,) = until(lambda: emails_in(mail), 60)
    assert link_in(message).startswith(f"https://{HOST}/")


def everything_is_configured(deployed):
    checked = deployed.run("worker", "flask", "check-config", "--json")
    assert checked.returncode == 0, checked.stdout
    health = deployed.call(fetch, f"http://{deployed.addresses['web-1']}:8000", "/health", headers=TLS).json
    assert {name for name, part in health["services"].items() if not part["healthy"]} == set()
    metrics = deployed.call(fetch, f"http://{deployed.addresses['web-2']}:8000", "/metrics", headers=TLS)
    assert (metrics.status, b"campshub_requests_total" in metrics.body) == (200, True)


# Namespaces need root; for other users test_as_configured runs the application's own services.
if can_run():

    def test_all_services_of_the_compose_file_run_as_shipped(deployed, admin):
        is_deployed_as_the_file_says(deployed)
        signs_in_and_writes(deployed, admin)
        a_job_is_done(deployed, admin)
        everything_is_configured(deployed)
