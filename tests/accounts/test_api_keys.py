"""Keys for programs and kiosks: told once, bounded by their makers, and of no use from the moment they are revoked."""

import ipaddress
import random
import re
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest

from campshub.accounts.models import ApiKey, Organization
from campshub.app import create_app
from campshub.core.db.base import new_id
from campshub.core.db.work import unit_of_work
from campshub.core.security import api_keys
from campshub.core.security.permissions import OF_KEYS, Role
from tests.conftest import PASSWORD, Client, close, settings_of
from tests.seeds import TODAY, seed
from tests.surface import body_for, operations

KEYS = "/api/api-keys/"
AT_ONCE = 30
FORM = re.compile(r"chk_[0-9A-Za-z]{12}_[0-9A-Za-z]{43}")


def signed_in(who):
    """Return a client of a session that has shown its password just now."""
    email = who.get("/api/me/").json["email"]
    tokens = Client(who.app).made("/api/auth/token/", {"email": email, "password": PASSWORD})
    return Client(who.app, {"Authorization": f"Bearer {tokens['access_token']}"}, who.user_id)


def with_key(app, key):
    return Client(app, {"Authorization": f"Bearer {key}"})


@pytest.fixture
def admin(api):
    return signed_in(api)


@pytest.fixture
def make(app, admin):
    """Return a maker of keys: ``make("students:read", scope="all")`` answers what was told, and a client with it."""

    def making(*permissions, by=admin, **given):
        named = {"permissions": list(permissions)} if permissions else {}
        made = by.made(KEYS, {"name": "Till", "expires_in_days": 30, **named, **given})
        return made, with_key(app, made["key"])

    return making


def rewrite(app, place, model, found, **values):
    """Change a row as a service would."""
    with app.app_context(), unit_of_work(system=True, organization_id=place.id) as session:
        row = session.get(model, found)
        for name, value in values.items():
            setattr(row, name, value)


def told(answer):
    return answer.status, answer.problem["code"] if answer.status >= 400 else None


def events(sql, place):
    found = sql("SELECT kind, api_key_id FROM security_events WHERE organization_id = %s ORDER BY id", place.id)
    return [(kind, str(key)) for kind, key in found if kind.startswith("key")]


# Making -------------------------------------------------------------------------------------------------------------


def test_a_key_is_told_once_and_kept_as_a_hash(make, admin, place, sql, student):
    student()
    made, client = make("students:read")

    assert FORM.fullmatch(made["key"])
    assert made["prefix"] == made["key"].split("_")[1]
    assert (made["status"], made["last_used_at"], made["user_id"]) == ("active", None, str(admin.user_id))
    assert len(client.get("/api/students/").json["items"]) == 1
    secret = made["key"].rpartition("_")[2]
    shown = admin.get(f"{KEYS}{made['id']}/")
    assert {**made, "last_used_at": ..., "last_address": ...} == {
        **shown.json, "key": made["key"], "last_used_at": ..., "last_address": ...,
    }  # fmt: skip
    everywhere = [shown.response.text, admin.get(KEYS).response.text]
    for table in ("api_keys", "audit_log", "security_events", "outbox", "idempotency_keys"):
        everywhere.append(str(sql(f"SELECT t::text FROM {table} t WHERE organization_id = %s", place.id)))
    assert [secret in text for text in everywhere] == [False] * len(everywhere)
    assert made["prefix"] in everywhere[2]
    assert events(sql, place)[0] == ("key_made", made["id"])


def test_keys_differ_in_every_place():
    made = [api_keys.new_key() for _ in range(200)]

    assert all(FORM.fullmatch(key) and key.split("_")[1] == prefix for key, prefix in made)
    assert len({key for key, _ in made}) == len({prefix for _, prefix in made}) == 200
    assert set("".join(key.rpartition("_")[2] for key, _ in made)) == set(api_keys.ALPHABET)


def test_keys_are_made_and_revoked_after_a_step_up(api, make):
    made, _ = make("students:read")
    body = {"name": "Till", "permissions": ["students:read"], "expires_in_days": 1}

    # The token of this client is of no session that has shown a password.
    assert told(api.post(KEYS, body)) == (403, "step_up_required")
    assert told(api.delete(f"{KEYS}{made['id']}/")) == (403, "step_up_required")


@pytest.mark.parametrize(
    ("given", "status", "what"),
    [
        ({"permissions": ["me:read"]}, 422, "/permissions/0"),
        ({"permissions": ["keys:write"]}, 422, "/permissions/0"),
        ({"permissions": ["organizations:write"]}, 422, "/permissions/0"),
        ({"permissions": None}, 422, "/permissions"),
        ({"expires_in_days": 366}, 422, "/expires_in_days"),
        ({"expires_in_days": 0}, 422, "/expires_in_days"),
        ({"kind": "device"}, 422, "/permissions"),
        ({"kind": "device", "permissions": None, "expires_in_days": 1826}, 422, "/expires_in_days"),
    ],
)
def test_a_key_that_may_not_be_is_refused(admin, given, status, what):
    body = {"name": "Till", "permissions": ["students:read"], "expires_in_days": 365, **given}
    answer = admin.post(KEYS, {name: value for name, value in body.items() if value is not None})

    assert (answer.status, answer.pointers) == (status, {what})


@pytest.fixture
def maker(api, place):
    """Return a client that has shown its password, whose own role makes keys and sees what is asked."""

    def making(*permissions, scope="groups"):
        allowed = [*permissions, "keys:read", "keys:write"]
        role = api.made("/api/roles/", {"name": new_id().hex, "permissions": allowed, "scope": scope})
        client = place.someone(Role.CLIENT)
        assert api.patch(f"/api/users/{client.user_id}/", {"role_id": role["id"]}).status == 200
        return signed_in(client), role["id"]

    return making


def test_a_key_does_no_more_than_its_maker_may(maker):
    client, _ = maker("students:read", "students:write")
    body = {"name": "Till", "expires_in_days": 1}

    for permissions, scope, expected in (
        (["students:read"], None, (201, None)),
        (["students:read", "students:write"], "groups", (201, None)),
        (["students:read"], "own", (201, None)),
        (["students:read"], "all", (403, "key_not_yours")),
        (["students:read", "groups:read"], "own", (403, "key_not_yours")),
        (["attendance:mark"], None, (403, "key_not_yours")),
    ):
        given = {**body, "permissions": permissions, **({"scope": scope} if scope else {})}
        assert told(client.post(KEYS, given)) == expected, given
    assert told(client.post(KEYS, {**body, "kind": "device"})) == (403, "key_not_yours")
    assert {key["scope"] for key in client.get(KEYS).json["items"]} == {"groups", "own"}


def test_a_key_does_no_more_than_its_maker_may_now(api, maker, make, student):
    student()
    by, role = maker("students:read", "groups:read", scope="all")
    _, client = make("students:read", "groups:read", by=by)
    assert [client.get(f"/api/{what}/").status for what in ("students", "groups")] == [200, 200]

    assert api.patch(f"/api/roles/{role}/", {"permissions": ["groups:read", "keys:write"]}).status == 200
    assert [client.get(f"/api/{what}/").status for what in ("students", "groups")] == [403, 200]
    assert api.patch(f"/api/roles/{role}/", {"permissions": ["students:read"], "scope": "own"}).status == 200
    answers = [client.get("/api/students/"), client.get("/api/groups/")]
    assert [told(answer) for answer in answers] == [(200, None), (403, "forbidden")]
    assert answers[0].json["items"] == []

    assert api.patch(f"/api/users/{by.user_id}/", {"status": "disabled"}).status == 200
    assert told(client.get("/api/students/")) == (401, "bad_token")


# Holding, and no longer ----------------------------------------------------------------------------------------------


def test_a_revoked_key_opens_nothing_from_the_next_request_on(app, admin, make, student, place, sql):
    student()
    made, client = make("students:read", "students:write")
    _, second = make("students:read")
    for _ in range(3):
        assert client.get("/api/students/").status == 200

    assert admin.delete(f"{KEYS}{made['id']}/").status == 204

    assert told(client.get("/api/students/")) == (401, "bad_token")
    assert told(client.post("/api/students/", {"given_name": "A", "family_name": "B"})) == (401, "bad_token")
    app.extensions["campshub"].tokens._remembered.clear()  # as in a process that has never seen it
    assert told(client.get("/api/students/")) == (401, "bad_token")
    assert second.get("/api/students/").status == 200
    assert told(admin.delete(f"{KEYS}{made['id']}/")) == (404, "not_found")
    assert [key["status"] for key in admin.get(KEYS).json["items"]] == ["revoked", "active"]
    assert ("key_revoked", made["id"]) in events(sql, place)


def test_a_key_is_revoked_once_however_many_ask(app, admin, make):
    made, _ = make("students:read")

    with ThreadPoolExecutor(AT_ONCE) as pool:
        statuses = list(
            pool.map(lambda _: Client(app, admin.headers).delete(f"{KEYS}{made['id']}/").status, range(AT_ONCE))
        )

    assert statuses.count(204) == 1
    assert set(statuses) <= {204, 404, 503}


def test_an_expired_key_opens_nothing(app, place, make, admin, monkeypatch):
    made, client = make("students:read")
    assert client.get("/api/students/").status == 200
    tokens = app.extensions["campshub"].tokens
    claims = tokens.remembered(made["key"])
    assert claims.expires_at - time.time() == pytest.approx(30 * 86_400, abs=300)

    tokens.remember(made["key"], replace(claims, expires_at=time.time() - 1))  # 30 days later, in this process
    assert tokens.remembered(made["key"]) is None
    rewrite(app, place, ApiKey, (place.id, UUID(made["id"])), expires_at=claims_at(claims) - timedelta(days=31))
    assert told(client.get("/api/students/")) == (401, "bad_token")
    tokens.remember(made["key"], claims)  # a process whose clock is behind
    assert told(client.get("/api/students/")) == (401, "bad_token")
    assert admin.get(f"{KEYS}{made['id']}/").json["status"] == "expired"


def claims_at(claims):
    from datetime import UTC, datetime  # noqa: PLC0415

    return datetime.fromtimestamp(claims.expires_at, UTC)


def test_no_key_of_a_suspended_organization_works(app, place, make):
    _, client = make("students:read")
    assert client.get("/api/students/").status == 200

    rewrite(app, place, Organization, place.id, status="suspended")

    assert told(client.get("/api/students/")) == (403, "organization_suspended")
    rewrite(app, place, Organization, place.id, status="active")
    assert client.get("/api/students/").status == 200


def test_a_key_of_one_organization_opens_no_other(app, make, other, student):
    theirs = other.the(Role.ADMIN).made("/api/students/", {"code": "X", "given_name": "A", "family_name": "B"})
    made, client = make(*sorted(OF_KEYS))

    assert client.get(f"/api/students/{theirs['id']}/").status == 404
    assert told(signed_in(other.the(Role.ADMIN)).delete(f"{KEYS}{made['id']}/")) == (404, "not_found")
    assert client.get("/api/students/").status == 200


def an_address():
    """Return an address that no other test has used."""
    return str(ipaddress.IPv4Address(random.randint(0x0A000000, 0x0AFFFFFF)))


@pytest.mark.parametrize("given", [{}, {"redis_url": "redis://127.0.0.1:1/0"}])
def test_a_wrong_key_is_told_nothing_and_counts_as_a_strangers_request(stack, database, make, given):
    made, _ = make("students:read")
    prefix, secret = made["key"][4:16], made["key"][17:]
    app, address = create_app(settings_of(stack, database, rate_limit_anonymous="5/hour", **given)), an_address()
    wrong = [
        f"chk_{prefix}_{secret[::-1]}",
        f"chk_{prefix[::-1]}_{secret}",
        f"chk_{prefix}_{secret[:-1]}",
        f"CHK_{prefix}_{secret}",
        "chk_",
        f"chk_{prefix}_{'é' * 43}",
    ]

    def ask(key, address=address):
        return with_key(app, key).get("/api/students/", environ_base={"REMOTE_ADDR": address})

    answers = [ask(key) for key in wrong]
    assert {told(answer) for answer in answers} == {(401, "bad_token")}
    assert len({answer.problem["detail"] for answer in answers}) == 1
    assert [told(ask(key)) for key in wrong[:2]] == [(429, "rate_limited")] * 2
    assert ask(wrong[0], an_address()).status == 401
    assert ask(made["key"]).status == 200  # a campus shares its address
    close(app)


def test_a_key_has_limits_of_its_own(stack, database, make, place):
    made, _ = make("students:read")
    app = create_app(settings_of(stack, database, rate_limit_user="3/hour"))
    client = with_key(app, made["key"])

    assert [client.get("/api/students/").status for _ in range(4)] == [200, 200, 200, 429]
    assert [Client(app, place.the(Role.ADMIN).headers).get("/api/students/").status for _ in range(2)] == [200, 200]
    close(app)


# What keys are for, and what not -------------------------------------------------------------------------------------


def test_a_key_does_what_it_is_for_and_nothing_that_is_for_people(app):
    seeds, wrong, for_people = seed(app, "Quokka"), [], set()
    by = seeds.signed_in(seeds.place.the(Role.ADMIN))

    def key_for(*permissions):
        made = by.made(KEYS, {"name": "K", "permissions": sorted(permissions), "scope": "all", "expires_in_days": 1})
        return with_key(app, made["key"])

    everything = key_for(*OF_KEYS)
    nothing_of = {one: key_for(*(OF_KEYS - {one})) for one in OF_KEYS}
    for operation in sorted(operations(app), key=lambda one: (one.method == "DELETE", one.name)):
        permission, schema = operation.handler.mark.permission, operation.handler.mark.body
        if permission is None:
            continue
        body = body_for(schema, seeds.id_for) if schema else None
        address = operation.address(seeds.ids)
        found = told(everything.call(operation.method, address, body))
        if permission not in OF_KEYS:
            for_people.add(operation.name)
            if found != (403, "not_for_keys"):
                wrong.append((operation.name, found))
            continue
        if found[0] in (401, 403) or found[0] >= 500:
            wrong.append((operation.name, found))
        without = told(nothing_of[permission].call(operation.method, address, body))
        if without != (403, "forbidden"):
            wrong.append((operation.name, "without", without))

    assert wrong == []
    assert {"GET /api/me/", "POST /api/auth/password/", "POST /api/auth/switch/", "POST /api/auth/logout/everywhere/",
            "DELETE /api/auth/sessions/<uuid:sign_in_id>/", "POST /api/auth/mfa/totp/", "POST /api/auth/step-up/",
            "POST /api/api-keys/", "DELETE /api/api-keys/<uuid:api_key_id>/", "POST /api/organizations/"} <= for_people  # fmt: skip


def test_a_key_gives_no_more_than_it_has(make, place):
    _, client = make("users:write", "students:read")
    person = {"email": f"{new_id().hex}@example.org", "name": "Asha", "password": "wrong donkey charger"}

    assert told(client.post("/api/users/", {**person, "role": "admin"})) == (403, "role_not_yours")
    assert told(client.post("/api/users/", {**person, "role": "client"})) == (403, "role_not_yours")


def test_a_devices_key_marks_attendance_and_no_more(api, make, student):
    one = student()
    group = api.made("/api/groups/", {"code": "G", "name": "Blue"})
    api.made(f"/api/groups/{group['id']}/enrolments/", {"student_id": one["id"], "begins_on": "2020-01-01"})
    meeting = {"group_id": group["id"], "local_date": str(TODAY), "slot": "09:00", "status": "open"}
    session = api.made("/api/attendance/sessions/", meeting)["id"]
    made, kiosk = make(kind="device", name="Front door", expires_in_days=1825)
    assert (made["kind"], made["name"], made["permissions"]) == ("device", "Front door", ["attendance:mark"])

    records = {"records": [{"student_id": one["id"], "code": "present"}]}
    marked = kiosk.put(f"/api/attendance/sessions/{session}/records/", records)

    assert (marked.status, marked.json["results"][0]["outcome"]) == (200, "created")
    for address in ("/api/students/", f"/api/attendance/sessions/{session}/", "/api/users/", KEYS):
        assert told(kiosk.get(address)) == (403, "forbidden")
    assert told(kiosk.get("/api/me/")) == (403, "not_for_keys")


# What is recorded ----------------------------------------------------------------------------------------------------


def test_the_audit_log_says_that_it_was_a_key_and_whose(make, admin, place, sql):
    made, client = make("students:read", "students:write")
    by_key = client.made("/api/students/", {"code": "K", "given_name": "A", "family_name": "B"})
    by_person = admin.made("/api/students/", {"code": "P", "given_name": "A", "family_name": "B"})

    found = sql("SELECT entity_id::text, user_id::text, api_key_id::text FROM audit_log WHERE organization_id = %s"
                " AND entity = 'students' ORDER BY id", place.id)  # fmt: skip
    assert found == [
        (by_key["id"], str(admin.user_id), made["id"]),
        (by_person["id"], str(admin.user_id), None),
    ]


def test_an_idempotency_key_is_the_keys_own(make, admin):
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


def test_where_a_key_is_used_is_noted_at_most_once_a_minute(app, make, admin, sql, place, monkeypatch):
    made, client = make("students:read")
    here, there = an_address(), an_address()

    def ask(address, path="/api/students/"):
        return client.get(path, environ_base={"REMOTE_ADDR": address})

    assert ask(here).status == 200
    (first,) = uses(sql, made)
    assert first[0] == here
    noted = [statement for _ in range(5) for statement in ask(here).statements if "note_key_use" in statement]
    assert noted == []
    app.extensions["campshub"].api_keys._noted.clear()  # another process
    assert any("note_key_use" in statement for statement in ask(here).statements)
    assert uses(sql, made) == [first]

    assert told(ask(there, "/api/groups/")) == (403, "forbidden")  # what it may not do is a use of it as well
    assert [address for address, _ in uses(sql, made)] == sorted([here, there])
    assert [event for event in events(sql, place) if event[1] == made["id"]] == [
        ("key_made", made["id"]),
        ("key_from_new_address", made["id"]),
        ("key_from_new_address", made["id"]),
    ]
    shown = admin.get(f"{KEYS}{made['id']}/").json
    assert (shown["last_address"], shown["last_used_at"] is not None) == (there, True)
    sql("UPDATE api_key_uses SET last_used_at = last_used_at - INTERVAL '2 minutes' WHERE api_key_id = %s RETURNING 1",
        UUID(made["id"]))  # fmt: skip
    monkeypatch.setattr(api_keys, "NOTED_EVERY_S", 0)
    ask(here)
    assert dict(uses(sql, made))[here] > first[1]


def test_a_use_that_cannot_be_noted_is_no_reason_to_refuse(app, make, monkeypatch):
    _, client = make("students:read")

    def broken(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(app.extensions["campshub"].api_keys, "_note", broken)
    assert client.get("/api/students/").status == 200
