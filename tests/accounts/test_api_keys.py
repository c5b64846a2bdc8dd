"""Keys for programs and kiosks: shown once, limited by their makers, and rejected as soon as they are revoked."""

import re
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest

from campshub.accounts.models import ApiKey, Organization
from campshub.app import create_app
from campshub.core.db.models import new_id
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.security import api_keys
from campshub.core.security.permissions import OF_KEYS, Role
from tests.accounts.conftest import KEYS, an_address, key_events, outcome, signed_in, with_key
from tests.conftest import Client, close, settings_of

AT_ONCE = 30
FORM = re.compile(r"chk_[0-9A-Za-z]{12}_[0-9A-Za-z]{43}")


def rewrite(app, tenant, model, found, **values):
    """Change a row as a service would."""
    with app.app_context(), unit_of_work(system=True, organization_id=tenant.id) as session:
        row = session.get(model, found)
        for name, value in values.items():
            setattr(row, name, value)


# Creating -----------------------------------------------------------------------------------------------------------


def test_a_key_is_shown_once_and_stored_as_a_hash(make, admin, tenant, sql, student):
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
    everywhere = [shown.raw.text, admin.get(KEYS).raw.text]
    tables = ("api_keys", "audit_log", "security_events", "outbox", "idempotency_keys")
    everywhere += [str(sql(f"SELECT t::text FROM {t} t WHERE organization_id = %s", tenant.id)) for t in tables]
    assert [secret in text for text in everywhere] == [False] * len(everywhere)
    assert made["prefix"] in everywhere[2]
    assert key_events(sql, tenant)[0] == ("key_made", made["id"])


def test_keys_differ_everywhere_beyond_the_prefix():
    made = [api_keys.new_key() for _ in range(200)]

    assert all(FORM.fullmatch(key) and key.split("_")[1] == prefix for key, prefix in made)
    assert len({key for key, _ in made}) == len({prefix for _, prefix in made}) == 200
    assert set("".join(key.rpartition("_")[2] for key, _ in made)) == set(api_keys.ALPHABET)


def test_creating_and_revoking_a_key_requires_a_step_up(api, make):
    made, _ = make("students:read")
    body = {"name": "Till", "permissions": ["students:read"], "expires_in_days": 1}

    # This client's token belongs to no session that has confirmed a password.
    assert outcome(api.post(KEYS, body)) == (403, "step_up_required")
    assert outcome(api.delete(f"{KEYS}{made['id']}/")) == (403, "step_up_required")


@pytest.mark.parametrize(
    ("options", "status", "what"),
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
def test_an_invalid_key_request_is_refused(admin, options, status, what):
    body = {"name": "Till", "permissions": ["students:read"], "expires_in_days": 365, **options}
    response = admin.post(KEYS, {name: value for name, value in body.items() if value is not None})

    assert (response.status, response.pointers) == (status, {what})


@pytest.fixture
def maker(api, tenant):
    """Return a client that has confirmed its password and whose own role creates keys with the given permissions."""

    def making(*permissions, scope="groups"):
        allowed = [*permissions, "keys:read", "keys:write"]
        role = api.made("/api/roles/", {"name": new_id().hex, "permissions": allowed, "scope": scope})
        client = tenant.someone(Role.CLIENT)
        assert api.patch(f"/api/users/{client.user_id}/", {"role_id": role["id"]}).status == 200
        return signed_in(client), role["id"]

    return making


def test_a_key_gets_no_more_permissions_than_its_maker_has(maker):
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
        options = {**body, "permissions": permissions, **({"scope": scope} if scope else {})}
        assert outcome(client.post(KEYS, options)) == expected, options
    assert outcome(client.post(KEYS, {**body, "kind": "device"})) == (403, "key_not_yours")
    assert {key["scope"] for key in client.get(KEYS).json["items"]} == {"groups", "own"}


def test_a_key_loses_what_its_maker_loses(api, maker, make, student):
    student()
    by, role = maker("students:read", "groups:read", scope="all")
    _, client = make("students:read", "groups:read", by=by)
    assert [client.get(f"/api/{what}/").status for what in ("students", "groups")] == [200, 200]

    assert api.patch(f"/api/roles/{role}/", {"permissions": ["groups:read", "keys:write"]}).status == 200
    assert [client.get(f"/api/{what}/").status for what in ("students", "groups")] == [403, 200]
    assert api.patch(f"/api/roles/{role}/", {"permissions": ["students:read"], "scope": "own"}).status == 200
    responses = [client.get("/api/students/"), client.get("/api/groups/")]
    assert [outcome(response) for response in responses] == [(200, None), (403, "forbidden")]
    assert responses[0].json["items"] == []

    assert api.patch(f"/api/users/{by.user_id}/", {"status": "disabled"}).status == 200
    assert outcome(client.get("/api/students/")) == (401, "bad_token")


# Validity -----------------------------------------------------------------------------------------------------------


def test_a_key_is_not_restored_with_its_maker(api, tenant, make):
    maker = tenant.someone(Role.ADMIN)
    _, client = make("students:read", scope="all", by=signed_in(maker))
    assert client.get("/api/students/").status == 200
    for status in ("disabled", "active"):
        assert api.patch(f"/api/users/{maker.user_id}/", {"status": status}).status == 200
        assert client.get("/api/students/").status == 401


def test_a_revoked_key_is_rejected_from_the_next_request_on(app, admin, make, student, tenant, sql):
    student()
    made, client = make("students:read", "students:write")
    _, second = make("students:read")
    for _ in range(3):
        assert client.get("/api/students/").status == 200

    assert admin.delete(f"{KEYS}{made['id']}/").status == 204

    assert outcome(client.get("/api/students/")) == (401, "bad_token")
    assert outcome(client.post("/api/students/", {"code": "A", "given_name": "A", "family_name": "B"})) == (
        401,
        "bad_token",
    )
    app.extensions["campshub"].tokens._remembered.clear()  # as in a process that has not cached it
    assert outcome(client.get("/api/students/")) == (401, "bad_token")
    assert second.get("/api/students/").status == 200
    assert outcome(admin.delete(f"{KEYS}{made['id']}/")) == (404, "not_found")
    assert [key["status"] for key in admin.get(KEYS).json["items"]] == ["revoked", "active"]
    assert ("key_revoked", made["id"]) in key_events(sql, tenant)


def test_many_requests_at_once_revoke_a_key_once(app, admin, make):
    made, _ = make("students:read")

    with ThreadPoolExecutor(AT_ONCE) as pool:
        statuses = list(
            pool.map(lambda _: Client(app, admin.headers).delete(f"{KEYS}{made['id']}/").status, range(AT_ONCE))
        )

    assert statuses.count(204) == 1
    assert set(statuses) <= {204, 404, 503}


def test_an_expired_key_is_rejected(app, tenant, make, admin):
    made, client = make("students:read")
    assert client.get("/api/students/").status == 200
    tokens = app.extensions["campshub"].tokens
    claims = tokens.remembered(made["key"])
    assert 0 < claims.expires_at - time.time() <= api_keys.REMEMBERED_S  # then it is read again, with its plan

    tokens.remember(made["key"], replace(claims, expires_at=time.time() - 1))  # 30 days later, in this process
    assert tokens.remembered(made["key"]) is None
    rewrite(app, tenant, ApiKey, (tenant.id, UUID(made["id"])), expires_at=datetime.now(UTC))
    assert outcome(client.get("/api/students/")) == (401, "bad_token")
    tokens.remember(made["key"], claims)  # a process whose clock is behind
    assert outcome(client.get("/api/students/")) == (401, "bad_token")
    assert admin.get(f"{KEYS}{made['id']}/").json["status"] == "expired"


def test_no_key_of_a_suspended_organization_works(app, tenant, make):
    _, client = make("students:read")
    assert client.get("/api/students/").status == 200

    rewrite(app, tenant, Organization, tenant.id, status="suspended")

    assert outcome(client.get("/api/students/")) == (403, "organization_suspended")
    rewrite(app, tenant, Organization, tenant.id, status="active")
    assert client.get("/api/students/").status == 200


def test_a_key_of_one_organization_is_not_valid_in_another(app, make, other, student):
    theirs = other.the(Role.ADMIN).made("/api/students/", {"code": "X", "given_name": "A", "family_name": "B"})
    made, client = make(*sorted(OF_KEYS))

    assert client.get(f"/api/students/{theirs['id']}/").status == 404
    assert outcome(signed_in(other.the(Role.ADMIN)).delete(f"{KEYS}{made['id']}/")) == (404, "not_found")
    assert client.get("/api/students/").status == 200


@pytest.mark.parametrize("options", [{}, {"redis_url": "redis://127.0.0.1:1/0"}])
def test_a_wrong_key_gets_no_details_and_counts_as_an_anonymous_request(stack, database, make, options):
    made, _ = make("students:read")
    prefix, secret = made["key"][4:16], made["key"][17:]
    app, address = create_app(settings_of(stack, database, rate_limit_anonymous="5/hour", **options)), an_address()
    wrong = [
        f"chk_{prefix}_{secret[::-1]}",
        f"chk_{prefix[::-1]}_{secret}",
        f"chk_{prefix}_{secret[:-1]}",
        f"CHK_{prefix}_{secret}",
        "chk_",
        f"chk_{prefix}_{'é' * 43}",
    ]

    def send(key, address=address):
        return with_key(app, key).get("/api/students/", environ_base={"REMOTE_ADDR": address})

    responses = [send(key) for key in wrong]
    assert {outcome(response) for response in responses} == {(401, "bad_token")}
    assert len({response.problem["detail"] for response in responses}) == 1
    assert [outcome(send(key)) for key in wrong[:2]] == [(429, "rate_limited")] * 2
    assert send(wrong[0], an_address()).status == 401
    assert send(made["key"]).status == 200  # a campus shares its IP address
    close(app)


def test_each_key_has_its_own_rate_limit(stack, database, make, api):
    keys = [make("students:read")[0]["key"] for _ in range(2)]  # counted under the maker's limit
    app = create_app(settings_of(stack, database, rate_limit_user="3/hour"))
    first, second = (with_key(app, key) for key in keys)

    assert [first.get("/api/students/").status for _ in range(4)] == [200, 200, 200, 429]
    assert [second.get("/api/students/").status for _ in range(3)] == [200, 200, 200]
    assert Client(app, api.headers).get("/api/students/").status == 429
    close(app)


def test_a_key_that_has_leaked_is_revoked_from_the_command_line(app, make):
    made, client = make("students:read")
    flask = app.test_cli_runner().invoke
    assert client.get("/api/students/").status == 200

    declined = flask(args=["api-keys", "revoke", "--prefix", made["prefix"]], input="n\n")
    assert (declined.exit_code, client.get("/api/students/").status) == (1, 200)
    revoked = flask(args=["api-keys", "revoke", "--prefix", made["key"], "--yes"])
    assert (revoked.exit_code, revoked.output) == (0, f"Revoked {made['id']}.\n")
    assert outcome(client.get("/api/students/")) == (401, "bad_token")
    for prefix in (made["prefix"], "nothing", "0" * 12):
        again = flask(args=["api-keys", "revoke", "--prefix", prefix, "--yes"])
        assert (again.exit_code, again.output.count("\n")) == (1, 1)
