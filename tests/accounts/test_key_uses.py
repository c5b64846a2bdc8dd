"""What keys may do, and how their use is recorded."""

from contextlib import contextmanager
from uuid import UUID

from campshub.core.db import unit_of_work
from campshub.core.db.models import new_id
from campshub.core.freshness.replicas import Replicas
from campshub.core.http import read_routing
from campshub.core.redis.connection import CacheUnavailable
from campshub.core.security import api_keys
from campshub.core.security.permissions import OF_KEYS, Role
from tests.accounts.conftest import KEYS, an_address, key_events, outcome, with_key
from tests.dates import today
from tests.seeds import seed
from tests.surface import body_for, operations

# What keys may do ----------------------------------------------------------------------------------------------------


FOR_PEOPLE = {
    "DELETE /api/api-keys/<uuid:api_key_id>/",
    "DELETE /api/auth/sessions/<uuid:sign_in_id>/",
    "GET /api/me/",
    "POST /api/api-keys/",
    "POST /api/auth/logout/everywhere/",
    "POST /api/auth/mfa/totp/",
    "POST /api/auth/password/",
    "POST /api/auth/step-up/",
    "POST /api/auth/switch/",
    "POST /api/organizations/",
}
# Schedules would continue as the person who created the key; an alert keeps which person has seen it.
NOT_BY_KEYS = {
    "POST /api/attendance/alerts/<uuid:attendance_alert_id>/acknowledge/",
    "DELETE /api/report-schedules/<uuid:schedule_id>/",
    "PATCH /api/report-schedules/<uuid:schedule_id>/",
    "POST /api/report-schedules/",
}


def test_a_key_calls_what_its_permissions_allow_and_nothing_meant_for_people(app):
    seeds, wrong, for_people = seed(app, "Quokka"), [], set()
    by = seeds.signed_in(seeds.tenant.the(Role.ADMIN))

    def key_for(*permissions):
        made = by.made(KEYS, {"name": "K", "permissions": sorted(permissions), "scope": "all", "expires_in_days": 1})
        return with_key(app, made["key"])

    everything = key_for(*OF_KEYS)
    nothing_of = {one: key_for(*(OF_KEYS - {one})) for one in OF_KEYS}
    for operation in sorted(operations(app), key=lambda one: (one.method == "DELETE", one.name)):
        permission, schema = operation.endpoint.options.permission, operation.endpoint.options.body
        if permission is None:
            continue
        body = body_for(schema, seeds.id_for) if schema else None
        address = operation.address(seeds.ids)
        found = outcome(everything.call(operation.method, address, body))
        is_step_up = operation.method != "GET" and operation.wants_step_up
        if permission not in OF_KEYS or is_step_up or operation.name in NOT_BY_KEYS:
            for_people.add(operation.name)
            if found != (403, "not_for_keys"):
                wrong.append((operation.name, found))
            continue
        if found[0] in (401, 403) or found[0] >= 500:
            wrong.append((operation.name, found))
        without = outcome(nothing_of[permission].call(operation.method, address, body))
        if without != (403, "forbidden"):
            wrong.append((operation.name, "without", without))

    assert wrong == []
    assert for_people >= FOR_PEOPLE | NOT_BY_KEYS


def test_a_key_grants_no_more_than_it_has(make, tenant):
    _, client = make("users:write", "students:read")
    person = {"email": f"{new_id().hex}@example.org", "name": "Asha", "password": "wrong donkey charger"}

    assert outcome(client.post("/api/users/", {**person, "role": "admin"})) == (403, "role_not_yours")
    assert outcome(client.post("/api/users/", {**person, "role": "client"})) == (403, "role_not_yours")


def test_a_devices_key_marks_attendance_and_no_more(api, make, student):
    one = student()
    group = api.made("/api/groups/", {"code": "G", "name": "Blue"})
    api.made(f"/api/groups/{group['id']}/enrolments/", {"student_id": one["id"], "begins_on": "2020-01-01"})
    meeting = {"group_id": group["id"], "local_date": str(today()), "slot": "09:00", "status": "open"}
    session = api.made("/api/attendance/sessions/", meeting)["id"]
    made, kiosk = make(kind="device", name="Front door", expires_in_days=1825)
    assert (made["kind"], made["name"], made["permissions"]) == (
        "device",
        "Front door",
        ["attendance:check_in", "attendance:mark"],
    )

    records = {"records": [{"student_id": one["id"], "code": "present"}]}
    marked = kiosk.put(f"/api/attendance/sessions/{session}/records/", records)

    assert (marked.status, marked.json["results"][0]["outcome"]) == (200, "created")
    for address in ("/api/students/", f"/api/attendance/sessions/{session}/", "/api/users/", KEYS):
        assert outcome(kiosk.get(address)) == (403, "forbidden")
    assert outcome(kiosk.get("/api/me/")) == (403, "not_for_keys")


# What is recorded ----------------------------------------------------------------------------------------------------


def test_the_audit_log_names_the_key_and_its_maker(make, admin, tenant, sql):
    made, client = make("students:read", "students:write")
    by_key = client.made("/api/students/", {"code": "K", "given_name": "A", "family_name": "B"})
    by_person = admin.made("/api/students/", {"code": "P", "given_name": "A", "family_name": "B"})

    found = sql("SELECT entity_id::text, user_id::text, api_key_id::text FROM audit_log WHERE organization_id = %s"
                " AND entity = 'students' ORDER BY id", tenant.id)  # fmt: skip
    assert found == [
        (by_key["id"], str(admin.user_id), made["id"]),
        (by_person["id"], str(admin.user_id), None),
    ]


def test_idempotency_keys_are_separate_for_each_api_key(make, admin):
    _, client = make("students:read", "students:write")
    body = {"code": "I", "given_name": "A", "family_name": "B"}

    first = client.post("/api/students/", body, headers={"Idempotency-Key": "one"})
    again = client.post("/api/students/", body, headers={"Idempotency-Key": "one"})
    makers = admin.post("/api/students/", body, headers={"Idempotency-Key": "one"})

    assert (first.status, again.headers["Idempotent-Replayed"], again.json) == (201, "true", first.json)
    assert makers.status == 409
    assert "Idempotent-Replayed" not in makers.headers


def uses(sql, made):
    return sql("SELECT address, last_used_at FROM api_key_uses WHERE api_key_id = %s ORDER BY address",
               UUID(made["id"]))  # fmt: skip


def test_the_address_of_a_key_use_is_recorded_at_most_once_a_minute(app, make, admin, sql, tenant, monkeypatch):
    made, client = make("students:read")
    here, there = an_address(), an_address()

    def send(address, path="/api/students/"):
        return client.get(path, environ_base={"REMOTE_ADDR": address})

    assert send(here).status == 200
    (first,) = uses(sql, made)
    assert first[0] == here
    recorded = [statement for _ in range(5) for statement in send(here).statements if "note_key_use" in statement]
    assert recorded == []
    app.extensions["campshub"].api_keys._noted.clear()  # another process
    assert any("note_key_use" in statement for statement in send(here).statements)
    assert uses(sql, made) == [first]

    assert outcome(send(there, "/api/groups/")) == (403, "forbidden")  # a forbidden request is recorded as well
    assert [address for address, _ in uses(sql, made)] == sorted([here, there])
    assert [event for event in key_events(sql, tenant) if event[1] == made["id"]] == [
        ("key_made", made["id"]),
        ("key_from_new_address", made["id"]),
        ("key_from_new_address", made["id"]),
    ]
    shown = admin.get(f"{KEYS}{made['id']}/").json
    assert (shown["last_address"], shown["last_used_at"] is not None) == (there, True)
    sql("UPDATE api_key_uses SET last_used_at = last_used_at - INTERVAL '2 minutes' WHERE api_key_id = %s RETURNING 1",
        UUID(made["id"]))  # fmt: skip
    monkeypatch.setattr(api_keys, "NOTED_EVERY_S", 0)
    send(here)
    assert dict(uses(sql, made))[here] > first[1]


def test_a_use_that_cannot_be_recorded_neither_fails_nor_delays_the_request(app, make, monkeypatch):
    _, client = make("students:read")
    tried = []

    def unavailable(*_, **__):
        tried.append(1)
        raise ZeroDivisionError

    monkeypatch.setattr(unit_of_work, "unit_of_work", unavailable)
    assert [client.get("/api/students/").status for _ in range(3)] == [200] * 3
    assert len(tried) == 1


def test_a_retried_read_records_the_use(app, make, sql, monkeypatch):
    made, client = make("students:read")
    on, tried = read_routing._on, []

    def behind(unit, done):
        found = on(unit, done)
        if not tried and unit.checks_caller:
            tried.append(1)
            raise read_routing.ReplicaBehind
        return found

    monkeypatch.setattr(read_routing, "_on", behind)
    monkeypatch.setattr(Replicas, "choose", lambda *_: BorrowedReplica())
    monkeypatch.setattr(app.extensions["campshub"].freshness, "look_up", redis_unavailable)
    assert client.get("/api/students/").status == 200
    assert (tried, len(uses(sql, made))) == ([1], 1)


class BorrowedReplica:
    """A replica that turns out to be behind after the work is done."""

    @contextmanager
    def reading(self, unit, _position):
        yield unit


def redis_unavailable(*_):
    raise CacheUnavailable
