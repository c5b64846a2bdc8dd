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
    """A student who was made and then changed."""
    made = student(phone="+91 1", status="lead")
    api.patch(f"/api/students/{made['id']}/", {"phone": "+91 2"})
    return made


def listed(client: Client, address: str) -> list[dict]:
    answer = client.get(address)
    assert answer.status == 200, answer.response.get_data(as_text=True)
    return answer.json["items"]


def test_admins_read_who_changed_what_the_newest_first_in_the_clear(api, changed):
    newest, first = listed(api, f"/api/audit/?entity_id={changed['id']}")

    assert (newest["action"], newest["before"], newest["after"]) == (
        "changed",
        {"phone": "+91 1"},
        {"phone": "+91 2"},
    )
    assert newest["user_id"] == str(api.user_id)
    assert (first["action"], first["before"], first["after"]["status"]) == ("created", None, "lead")


def test_what_was_said_of_an_erased_person_is_gone(api, place, changed, stack, database, sql):
    with stack.primary.connect(database) as connection:
        connection.execute(
            "UPDATE person_keys SET sealed_key = NULL WHERE organization_id = %s AND id = %s", (place.id, changed["id"])
        )
    newest, _ = listed(api, f"/api/audit/?person_id={changed['id']}")

    assert (newest["before"], newest["after"]) == ({"phone": {"erased": True}}, {"phone": {"erased": True}})


def test_each_filter_leaves_out_the_rest(api, place, changed):
    place.the(Role.TRAINER)
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


def test_dates_bound_what_is_read(api, changed):
    tomorrow, long_ago = TODAY + timedelta(days=1), TODAY - timedelta(days=401)
    assert listed(api, f"/api/audit/?from={TODAY + timedelta(days=2)}") == []  # midnight may come meanwhile
    assert listed(api, f"/api/audit/?to={TODAY - timedelta(days=2)}") == []
    assert len(listed(api, f"/api/audit/?from={TODAY - timedelta(days=1)}&to={tomorrow}")) > 1
    assert api.get(f"/api/audit/?from={long_ago}&to={TODAY}").pointers == {"/to"}
    assert api.get(f"/api/audit/?from={TODAY}&to={long_ago}").pointers == {"/to"}


def test_pages_follow_one_another_back_in_time(api, changed):
    whole = listed(api, "/api/audit/?limit=200")
    address, walked = "/api/audit/?limit=1", []
    while address:
        answer = api.get(address)
        walked += answer.json["items"]
        cursor = answer.json["next_cursor"]
        address = cursor and f"/api/audit/?limit=1&cursor={cursor}"

    assert walked == whole
    assert [entry["id"] for entry in listed(api, "/api/audit/?limit=200&sort=date")] == [
        entry["id"] for entry in reversed(whole)
    ]


def test_nobody_else_reads_it(place, other, changed):
    for role in (Role.TRAINER, Role.NUTRITIONIST, Role.CLIENT):
        for address in ("/api/audit/", "/api/security-events/"):
            assert place.the(role).get(address).status == 403
    assert listed(other.the(Role.ADMIN), f"/api/audit/?entity_id={changed['id']}") == []


def test_a_failed_sign_in_is_listed_with_its_address(app, api, place):
    email = api.get("/api/me/").json["email"]
    refused = Client(app).post("/api/auth/token/", {"email": email, "password": "not this one"})
    assert refused.status == 401

    (event,) = listed(api, f"/api/security-events/?kind=sign_in_failed&user_id={api.user_id}")
    assert (event["address"], event["trace_id"]) == ("127.0.0.1", refused.problem["trace_id"])
    assert listed(api, "/api/security-events/?kind=mfa_removed") == []


def test_whoever_tries_what_they_may_not_is_listed_each_time_and_read_or_write_alike(place, api, student):
    trainer = place.the(Role.TRAINER)
    address = f"/api/students/{student()['id']}/"
    refused = [trainer.get("/api/audit/"), trainer.get("/api/audit/"), trainer.delete(address)]
    assert [answer.status for answer in refused] == [403, 403, 403]

    found = listed(api, f"/api/security-events/?kind=permission_denied&user_id={trainer.user_id}&sort=created")
    assert [event["trace_id"] for event in found] == [answer.problem["trace_id"] for answer in refused]


def test_the_log_is_exported_by_a_command_line_by_line(app, api, place, changed, tmp_path):
    target = tmp_path / "audit.ndjson"
    words = ("audit", "export", "--organization", str(place.id), "--output", str(target))
    result = app.test_cli_runner().invoke(args=words)
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in target.read_text().splitlines()]

    shown = listed(api, "/api/audit/?limit=200&sort=date")
    assert [line["id"] for line in lines] == [entry["id"] for entry in shown]
    assert {"phone": "+91 2"} in [line["after"] for line in lines]
    assert target.stat().st_mode & 0o077 == 0
    assert str(len(lines)) in result.output

    again = app.test_cli_runner().invoke(args=words)
    assert (again.exit_code, "is there already" in again.output) == (1, True)
    assert len(target.read_text().splitlines()) == len(lines)


def test_an_export_names_what_is_wrong_with_its_words(app, place, tmp_path):
    run, words = app.test_cli_runner().invoke, ("--output", str(tmp_path / "a"))
    unknown = run(args=("audit", "export", "--organization", "hill-camp", *words))
    missing = run(args=("audit", "export", "--organization", str(uuid.uuid4()), *words))

    assert unknown.exit_code == 2
    assert (missing.exit_code, "There is no organization" in missing.output) == (1, True)
    assert not (tmp_path / "a").exists()
