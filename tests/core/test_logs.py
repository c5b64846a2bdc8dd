"""One log line per request, with its ids, and without personal values and secrets."""

import json

from campshub.core.security.permissions import Role
from tests.conftest import PASSWORD, Client

CANARY = "Quetzalcoatlus"


def test_an_error_is_logged_with_stack_and_ids_but_without_values(api, tenant, lines, monkeypatch):
    from campshub.students import names  # noqa: PLC0415

    def broken(*given):
        raise ValueError(f"cannot fold {given}") from KeyError(CANARY)

    monkeypatch.setattr(names, "sort_name", broken)
    response = api.post("/api/students/", {"code": CANARY, "given_name": CANARY, "family_name": "B"})

    assert (response.status, response.problem["code"]) == (500, "unexpected")
    assert CANARY not in response.raw.text
    line, request = lines()
    assert CANARY not in json.dumps(line)
    assert line["trace_id"] == request["trace_id"] == response.problem["trace_id"]
    assert (request["status"], request["problem"]) == (500, "unexpected")
    assert [error["kind"] for error in line["exception"]] == ["ValueError", "KeyError"]
    assert any("broken" in place for place in line["exception"][0]["at"])


def test_database_messages_about_a_row_are_not_logged(api, lines, stack, database, tenant, sql, monkeypatch):
    from campshub.students.service import students  # noqa: PLC0415

    known = students.new_row
    monkeypatch.setattr(students, "new_row", lambda *given: {**known(*given), "status": CANARY})

    response = api.post("/api/students/", {"code": "S", "given_name": CANARY, "family_name": "B"})

    assert response.status == 422
    assert CANARY not in json.dumps(lines())
    assert "ck_students_status" in json.dumps(lines())


def test_no_secret_and_no_personal_value_is_logged(app, tenant, lines):
    api = tenant.the(Role.ADMIN)
    token = api.headers["Authorization"].partition(" ")[2]
    anyone = Client(app)
    signed_in = anyone.post("/api/auth/token/", {"email": api.get("/api/me/").json["email"], "password": PASSWORD})
    anyone.post("/api/auth/token/", {"email": f"{CANARY}@example.org", "password": CANARY})
    person = {"given_name": CANARY, "family_name": CANARY, "medical_note": CANARY, "phone": CANARY}
    api.post("/api/students/", {"code": "S", **person}, headers={"Idempotency-Key": CANARY})
    api.post("/api/students/", {"code": "S", **person})
    api.post("/api/students/", {"code": "S2", "no_such": CANARY, **person})
    api.get("/api/students/", query_string={"q": CANARY, "cursor": CANARY})
    api.get(f"/api/{CANARY}/", headers={"X-Request-ID": "x y", "User-Agent": CANARY})

    logged = json.dumps(lines())
    for secret in (CANARY, token, signed_in.json["access_token"], signed_in.json["refresh_token"], PASSWORD):
        assert secret not in logged


def test_each_request_is_one_line(app, tenant, monkeypatch, lines):
    from campshub.app import create_app  # noqa: PLC0415
    from tests.conftest import close  # noqa: PLC0415

    settings = app.extensions["campshub"].settings.model_copy(update={"log_level": "INFO"})
    talking = create_app(settings)
    client = Client(talking, tenant.the(Role.ADMIN).headers)
    client.get("/api/students/?q=secret", headers={"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"})
    client.get("/live/")

    (line,) = [line for line in lines() if line["logger"] == "campshub.requests"]
    assert (line["method"], line["route"], line["status"]) == ("GET", "/api/students/", 200)
    assert (line["trace_id"], line["organization_id"]) == ("a" * 32, str(tenant.id))
    assert {"request_id", "milliseconds", "user_id", "address", "at", "level"} <= line.keys()
    assert "secret" not in json.dumps(line)
    close(talking)
