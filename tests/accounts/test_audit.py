"""The audit log and security events, as admins read them."""

import json
import uuid
from datetime import UTC, datetime, timedelta

import pytest

from campshub.core.security.permissions import Role
from tests.conftest import Client

TODAY = datetime.now(UTC).date()


@pytest.fixture
def changed(api, student):
    """A student who was created and then changed."""
    made = student(phone="+91 1", status="lead")
    api.patch(f"/api/students/{made['id']}/", {"phone": "+91 2"})
    return made


def listed(client: Client, url: str) -> list[dict]:
    response = client.get(url)
    assert response.status == 200, response.raw.get_data(as_text=True)
    return response.json["items"]


def test_admins_read_decrypted_changes_newest_first(api, changed):
    newest, first = listed(api, f"/api/audit/?entity_id={changed['id']}")

    assert (newest["action"], newest["before"], newest["after"]) == (
        "changed",
        {"phone": "+91 1"},
        {"phone": "+91 2"},
    )
    assert newest["user_id"] == str(api.user_id)
    assert (first["action"], first["before"], first["after"]["status"]) == ("created", None, "lead")


def test_values_of_an_erased_person_are_gone(api, tenant, changed, stack, database, sql):
    with stack.primary.connect(database) as connection:
        connection.execute(
            "UPDATE person_keys SET sealed_key = NULL WHERE organization_id = %s AND id = %s",
            (tenant.id, changed["id"]),
        )
    newest, _ = listed(api, f"/api/audit/?person_id={changed['id']}")

    assert (newest["before"], newest["after"]) == ({"phone": {"erased": True}}, {"phone": {"erased": True}})


def test_each_filter_excludes_all_other_entries(api, tenant, changed):
    tenant.the(Role.TRAINER)
    everything = listed(api, "/api/audit/?limit=200")
    for name, value in (
        ("entity", "students"),
        ("entity_id", changed["id"]),
        ("person_id", changed["id"]),
        ("user_id", str(api.user_id)),
        ("action", "changed"),
    ):
        found = listed(api, f"/api/audit/?limit=200&{name}={value}")
        assert found == [entry for entry in everything if entry[name] == value], name
        assert 0 < len(found) < len(everything), name


def test_dates_limit_the_entries(api, changed):
    tomorrow, long_ago = TODAY + timedelta(days=1), TODAY - timedelta(days=401)
    assert listed(api, f"/api/audit/?from={TODAY + timedelta(days=2)}") == []  # midnight may pass during the test
    assert listed(api, f"/api/audit/?to={TODAY - timedelta(days=2)}") == []
    assert len(listed(api, f"/api/audit/?from={TODAY - timedelta(days=1)}&to={tomorrow}")) > 1
    assert api.get(f"/api/audit/?from={long_ago}&to={TODAY}").pointers == {"/to"}
    assert api.get(f"/api/audit/?from={TODAY}&to={long_ago}").pointers == {"/to"}


def test_pages_go_back_in_time(api, changed):
    whole = listed(api, "/api/audit/?limit=200")
    url, collected = "/api/audit/?limit=1", []
    while url:
        response = api.get(url)
        collected += response.json["items"]
        cursor = response.json["next_cursor"]
        url = cursor and f"/api/audit/?limit=1&cursor={cursor}"

    assert collected == whole
    assert [entry["id"] for entry in listed(api, "/api/audit/?limit=200&sort=date")] == [
        entry["id"] for entry in reversed(whole)
    ]


def test_no_other_role_and_no_other_organization_reads_it(tenant, other, changed):
    for role in (Role.TRAINER, Role.NUTRITIONIST, Role.CLIENT):
        for url in ("/api/audit/", "/api/security-events/"):
            assert tenant.the(role).get(url).status == 403
    assert listed(other.the(Role.ADMIN), f"/api/audit/?entity_id={changed['id']}") == []


def test_a_failed_sign_in_is_listed_with_its_address(app, api, tenant):
    email = api.get("/api/me/").json["email"]
    refused = Client(app).post("/api/auth/token/", {"email": email, "password": "not this one"})
    assert refused.status == 401

    (event,) = listed(api, f"/api/security-events/?kind=sign_in_failed&user_id={api.user_id}")
    assert (event["address"], event["trace_id"]) == ("127.0.0.1", refused.problem["trace_id"])
    assert listed(api, "/api/security-events/?kind=mfa_removed") == []


def test_each_forbidden_read_or_write_is_listed(tenant, api, student):
    trainer = tenant.the(Role.TRAINER)
    url = f"/api/students/{student()['id']}/"
    refused = [trainer.get("/api/audit/"), trainer.get("/api/audit/"), trainer.delete(url)]
    assert [response.status for response in refused] == [403, 403, 403]

    found = listed(api, f"/api/security-events/?kind=permission_denied&user_id={trainer.user_id}&sort=created")
    assert [event["trace_id"] for event in found] == [response.problem["trace_id"] for response in refused]


def test_a_command_exports_the_log_as_json_lines(app, api, tenant, changed, tmp_path):
    target = tmp_path / "audit.ndjson"
    arguments = ("audit", "export", "--organization", str(tenant.id), "--output", str(target))
    result = app.test_cli_runner().invoke(args=arguments)
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in target.read_text().splitlines()]

    shown = listed(api, "/api/audit/?limit=200&sort=date")
    assert [line["id"] for line in lines] == [entry["id"] for entry in shown]
    assert {"phone": "+91 2"} in [line["after"] for line in lines]
    assert target.stat().st_mode & 0o077 == 0
    assert str(len(lines)) in result.output

    again = app.test_cli_runner().invoke(args=arguments)
    assert (again.exit_code, "already exists" in again.output) == (1, True)
    assert len(target.read_text().splitlines()) == len(lines)


def test_an_export_reports_wrong_arguments(app, tenant, tmp_path):
    run, arguments = app.test_cli_runner().invoke, ("--output", str(tmp_path / "a"))
    unknown = run(args=("audit", "export", "--organization", "hill-camp", *arguments))
    missing = run(args=("audit", "export", "--organization", str(uuid.uuid4()), *arguments))

    assert unknown.exit_code == 2
    assert (missing.exit_code, "There is no organization" in missing.output) == (1, True)
    assert not (tmp_path / "a").exists()
