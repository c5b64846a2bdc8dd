"""Sessions: continued by refresh tokens, ended one by one or all at once; an ended session is refused immediately."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from campshub.accounts.models import Membership, SignInSession
from campshub.core.db.models import new_id
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.security.opaque import OpaqueTokens, UnknownToken
from tests.conftest import PASSWORD, Client

TOKEN, REFRESH = "/api/auth/token/", "/api/auth/refresh/"
AT_ONCE = 50


@pytest.fixture
def sign_in(app, api, anonymous):
    """Sign the admin in; return the tokens and a client that uses them."""
    email = api.get("/api/me/").json["email"]

    def signing_in(**fields):
        tokens = anonymous.made(TOKEN, {"email": email, "password": PASSWORD, **fields})
        return tokens, Client(app, bearer(tokens), api.user_id)

    return signing_in


def bearer(tokens):
    return {"Authorization": f"Bearer {tokens['access_token']}"}


def refresh(anonymous, token):
    return anonymous.post(REFRESH, {"refresh_token": token})


def events(sql, tenant):
    return [row[0] for row in sql("SELECT kind FROM security_events WHERE organization_id = %s ORDER BY id", tenant.id)]


def later(app, tenant, **by):
    """Let time pass for all sessions of an organization."""
    with app.app_context(), unit_of_work(system=True, organization_id=tenant.id) as session:
        for entity in session.query(SignInSession).filter_by(organization_id=tenant.id):
            for name in ("rotated_at", "idle_until", "expires_at"):
                setattr(entity, name, getattr(entity, name) - timedelta(**by))


# Refreshing ----------------------------------------------------------------------------------------------------------


def test_a_refresh_token_gets_its_successor_and_a_valid_access_token(app, anonymous, sign_in, tenant):
    first, _ = sign_in()

    second = refresh(anonymous, first["refresh_token"])
    third = refresh(anonymous, second.json["refresh_token"])

    assert (second.status, third.status) == (200, 200)
    assert len({first["refresh_token"], second.json["refresh_token"], third.json["refresh_token"]}) == 3
    assert second.json["organization_id"] == str(tenant.id)
    assert second.headers["Cache-Control"] == "no-store"
    assert Client(app, bearer(third.json)).get("/api/me/").status == 200


def test_a_repeated_refresh_gets_the_same_successor(anonymous, sign_in):
    first, _ = sign_in()

    successors = {refresh(anonymous, first["refresh_token"]).json["refresh_token"] for _ in range(3)}

    assert len(successors) == 1
    assert refresh(anonymous, successors.pop()).status == 200


def test_fifty_concurrent_refreshes_get_one_successor(app, anonymous, sign_in, sql, tenant):
    first, _ = sign_in()

    with ThreadPoolExecutor(AT_ONCE) as pool:
        responses = list(pool.map(lambda _: refresh(Client(app), first["refresh_token"]), range(AT_ONCE)))

    # 503: it waited too long and may be retried.
    assert {response.status for response in responses} - {503} == {200}
    assert len({response.json["refresh_token"] for response in responses if response.status == 200}) == 1
    assert sql("SELECT version FROM sign_in_sessions WHERE organization_id = %s", tenant.id) == [(2,)]


def test_the_successor_is_not_stored_in_clear(anonymous, sign_in, sql, tenant):
    first, _ = sign_in()
    second = refresh(anonymous, first["refresh_token"]).json

    (stored,) = sql("SELECT s::text FROM sign_in_sessions s WHERE organization_id = %s", tenant.id)
    for token in (first["refresh_token"], second["refresh_token"]):
        assert token not in stored[0]


def test_an_old_token_ends_the_whole_session_and_is_recorded(app, anonymous, sign_in, sql, tenant):
    first, client = sign_in()
    second = refresh(anonymous, first["refresh_token"]).json
    later(app, tenant, seconds=11)

    reused = refresh(anonymous, first["refresh_token"])

    assert (reused.status, reused.problem["code"]) == (401, "bad_refresh_token")
    assert refresh(anonymous, second["refresh_token"]).status == 401
    assert client.get("/api/me/").status == 401
    assert Client(app, bearer(second)).get("/api/me/").problem["code"] == "session_ended"
    assert events(sql, tenant) == ["refresh_reused"]
    assert sign_in()[1].get("/api/me/").status == 200


def test_an_older_token_than_the_predecessor_ends_the_session_immediately(anonymous, sign_in):
    first, _ = sign_in()
    second = refresh(anonymous, first["refresh_token"]).json
    third = refresh(anonymous, second["refresh_token"]).json

    assert refresh(anonymous, first["refresh_token"]).status == 401
    assert refresh(anonymous, third["refresh_token"]).status == 401


def test_a_forged_token_ends_nothing_and_runs_no_statement(anonymous, sign_in):
    first, client = sign_in()
    genuine = first["refresh_token"]
    forged = [f"{genuine[:-4]}AAAA", f"{genuine[:60]}A{genuine[61:]}", genuine.replace("chr_", "chi_"), "chr_", "x",
              "chr_" + "é" * 20, "chr_" + "A" * 128, first["access_token"][:400]]  # fmt: skip

    responses = [refresh(anonymous, token) for token in forged if token != genuine]

    assert {(response.status, response.problem["code"]) for response in responses} == {(401, "bad_refresh_token")}
    assert [response.queries for response in responses] == [[]] * len(responses)
    assert client.get("/api/me/").status == 200
    assert refresh(anonymous, genuine).status == 200


def test_a_refresh_token_is_no_access_token(app, sign_in):
    first, _ = sign_in()

    assert Client(app, {"Authorization": f"Bearer {first['refresh_token']}"}).get("/api/me/").status == 401


@pytest.mark.parametrize(("days", "status"), [(29, 200), (30, 401)])
def test_an_idle_session_ends(app, anonymous, sign_in, tenant, days, status):
    first, _ = sign_in()
    later(app, tenant, days=days)

    assert refresh(anonymous, first["refresh_token"]).status == status


def test_an_active_session_ends_after_its_maximum_age(app, anonymous, sign_in, tenant):
    token = sign_in()[0]["refresh_token"]
    for _ in range(8):
        later(app, tenant, days=20)
        token = refresh(anonymous, token).json["refresh_token"]
    later(app, tenant, days=20)

    assert refresh(anonymous, token).status == 401


@pytest.mark.parametrize("what", ["membership", "user", "version", "organization"])
def test_a_disabled_caller_gets_no_access_by_refreshing(app, anonymous, sign_in, api, tenant, sql, what):
    first, _ = sign_in()
    changes = {
        "membership": "UPDATE memberships SET status = 'disabled' WHERE user_id = %s",
        "user": "UPDATE users SET status = 'disabled' WHERE id = %s",
        "version": "UPDATE users SET session_version = 2 WHERE id = %s",
        "organization": "UPDATE organizations SET status = 'suspended' WHERE id IN"
        " (SELECT organization_id FROM memberships WHERE user_id = %s)",
    }
    sql(f"{changes[what]} RETURNING 1", api.user_id)

    assert refresh(anonymous, first["refresh_token"]).status == (403 if what == "organization" else 401)


# Ending --------------------------------------------------------------------------------------------------------------


def test_signing_out_ends_only_the_current_session_at_the_next_request(anonymous, sign_in, sql, tenant):
    (here_tokens, here), (_, there) = sign_in(), sign_in()
    assert here.get("/api/organization/").status == 200  # caches the caller's state

    assert here.post("/api/auth/logout/").status == 204

    for method, address in (("GET", "/api/organization/"), ("GET", "/api/me/"), ("PATCH", "/api/me/")):
        ended = here.call(method, address, {"name": "X"} if method == "PATCH" else None)
        assert (ended.status, ended.problem["code"]) == (401, "session_ended")
    assert refresh(anonymous, here_tokens["refresh_token"]).status == 401
    assert there.get("/api/organization/").status == 200
    assert events(sql, tenant) == ["session_ended"]


def test_signing_out_everywhere_ends_every_session_in_every_organization(app, anonymous, sign_in, api, other):
    with app.app_context(), unit_of_work(system=True, organization_id=other.id) as session:
        session.add(Membership(organization_id=other.id, user_id=api.user_id, role="trainer"))
    (_, here), (tokens, there), (_, third) = sign_in(), sign_in(organization_id=str(other.id)), sign_in()
    assert [c.get("/api/organization/").status for c in (here, there, third)] == [200, 200, 200]

    assert here.post("/api/auth/logout/everywhere/").status == 204

    assert [c.get("/api/organization/").status for c in (here, there, third)] == [401, 401, 401]
    assert refresh(anonymous, tokens["refresh_token"]).status == 401
    assert sign_in()[1].get("/api/me/").status == 200


def test_sessions_are_listed_and_ended_one_by_one(app, anonymous, sign_in, tenant):
    (_, here), (tokens, there) = sign_in(), sign_in()
    listed = here.get("/api/auth/sessions/", headers={"User-Agent": "Kiosk/1"}).json["items"]
    assert [s["is_current"] for s in listed] == [True, False]
    assert {s["address"] for s in listed} == {"127.0.0.1"}
    assert all(s["user_agent"] and s["created_at"] <= s["last_used_at"] < s["expires_at"] for s in listed)
    assert there.get("/api/organization/").status == 200

    ended = here.delete(f"/api/auth/sessions/{listed[1]['id']}/")

    assert ended.status == 204
    assert there.get("/api/organization/").status == 401
    assert refresh(anonymous, tokens["refresh_token"]).status == 401
    assert [s["id"] for s in here.get("/api/auth/sessions/").json["items"]] == [listed[0]["id"]]
    assert here.delete(f"/api/auth/sessions/{listed[1]['id']}/").status == 404


def test_another_users_session_cannot_be_seen_or_ended(sign_in, tenant, sql):
    from campshub.core.security.permissions import Role  # noqa: PLC0415

    _, here = sign_in()
    (mine,) = here.get("/api/auth/sessions/").json["items"]
    colleague = tenant.someone(Role.ADMIN)

    assert colleague.get("/api/auth/sessions/").json["items"] == []
    assert colleague.delete(f"/api/auth/sessions/{mine['id']}/").status == 404
    assert here.get("/api/me/").status == 200


def test_an_ended_session_is_listed_until_its_access_tokens_expire(app, sign_in, tenant, api, sql):
    _, here = sign_in()
    here.post("/api/auth/logout/")

    def ended_sessions():
        with app.app_context(), unit_of_work(organization_id=tenant.id, user_id=api.user_id) as session:
            return len(session.unit.caller_row.ended_sessions)

    assert ended_sessions() == 1
    sql("UPDATE sign_in_sessions SET access_until = now() WHERE organization_id = %s RETURNING 1", tenant.id)
    assert ended_sessions() == 0


def test_the_check_for_ended_sessions_costs_no_extra_statement(sign_in):
    (_, here), (_, there) = sign_in(), sign_in()
    there.post("/api/auth/logout/")  # so that there is an ended session
    ends = time.monotonic() + 30  # a cache that has just started is not trusted yet

    while here.get("/api/organization/").statements:
        assert time.monotonic() < ends
        time.sleep(0.1)


# Switching -----------------------------------------------------------------------------------------------------------


def test_a_user_switches_to_another_organization(app, anonymous, sign_in, api, tenant, other):
    with app.app_context(), unit_of_work(system=True, organization_id=other.id) as session:
        session.add(Membership(organization_id=other.id, user_id=api.user_id, role="trainer"))
    _, here = sign_in(organization_id=str(tenant.id))

    switched = here.post("/api/auth/switch/", {"organization_id": str(other.id)})

    there = Client(app, bearer(switched.json))
    assert (switched.status, switched.json["organization_id"]) == (200, str(other.id))
    assert there.get("/api/me/").json["role"] == "trainer"
    assert here.get("/api/me/").json["role"] == "admin"
    assert refresh(anonymous, switched.json["refresh_token"]).json["organization_id"] == str(other.id)
    for other_id in (str(new_id()), None):
        assert here.post("/api/auth/switch/", {"organization_id": other_id}).status in (403, 422)


# Opaque tokens -------------------------------------------------------------------------------------------------------


def test_an_opaque_token_is_valid_only_with_its_key_and_kind():
    ours, organization_id, row_id = OpaqueTokens("one secret of ours"), new_id(), new_id()
    token = ours.write("chr", organization_id, row_id, b"s" * 32)

    named = ours.read("chr", token)

    assert (named.organization_id, named.id) == (organization_id, row_id)
    assert ours.successor("chr", token) == OpaqueTokens("one secret of ours").successor("chr", token) != token
    for key, kind, changed_token in (
        (OpaqueTokens("another secret"), "chr", token),
        (ours, "chi", token.replace("chr", "chi")),
    ):
        with pytest.raises(UnknownToken):
            key.read(kind, changed_token)
