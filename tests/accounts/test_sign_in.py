"""Sign-in with a password, valid only while the session, the membership and the organization are active."""

import base64
import hashlib
import hmac
import json
import time
from datetime import timedelta

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from campshub.accounts.models import Membership, Organization, User
from campshub.config import read_keys
from campshub.core.db.models import new_id
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.security.passwords import hash_password, verify_password
from campshub.core.security.permissions import Role
from tests.accounts.conftest import email_of
from tests.conftest import PASSWORD, Client

TOKEN = "/api/auth/token/"
UNKNOWN_ID = "01234567-89ab-7def-8123-456789abcdef"


def test_a_password_gets_tokens_for_the_api(api, anonymous, tenant):
    response = anonymous.post(TOKEN, {"email": email_of(api).upper(), "password": PASSWORD})

    assert response.status == 200
    assert (response.json["token_type"], response.json["expires_in"]) == ("Bearer", 1800)
    assert response.json["organization_id"] == str(tenant.id)
    assert response.json["refresh_token"].startswith("chr_")
    me = anonymous.get("/api/me/", headers={"Authorization": f"bearer {response.json['access_token']}"})
    assert (me.status, me.json["role"], me.json["organization_id"]) == (200, "admin", str(tenant.id))


def test_a_failed_sign_in_does_not_reveal_whether_the_user_exists(api, anonymous):
    known, unknown = (
        anonymous.post(TOKEN, {"email": email, "password": "not the password"})
        for email in (email_of(api), "unknown@example.org")
    )

    same = {name: known.problem[name] for name in known.problem if name != "trace_id"}
    assert (known.status, known.problem["code"]) == (401, "bad_credentials")
    assert same == {name: unknown.problem[name] for name in unknown.problem if name != "trace_id"}


def test_long_passwords_are_not_truncated(anonymous):
    long = "x" * 1023
    stored = hash_password(f"{long}a", cost=4)

    assert verify_password(f"{long}a", stored, cost=4)
    assert not verify_password(f"{long}b", stored, cost=4)
    assert not verify_password(long, stored, cost=4)
    assert verify_password("a\x00b", hash_password("a\x00b", cost=4), cost=4)
    assert not verify_password("a\x00c", hash_password("a\x00b", cost=4), cost=4)
    response = anonymous.post(TOKEN, {"email": "a@example.org", "password": "x" * 10_000})
    assert (response.status, response.problem["code"]) == (401, "bad_credentials")


def test_sign_in_uses_the_named_or_else_the_last_organization(app, api, anonymous, tenant, other):
    with app.app_context(), unit_of_work(system=True, organization_id=other.id) as session:
        session.add(Membership(organization_id=other.id, user_id=api.user_id, role="trainer"))
    credentials = {"email": email_of(api), "password": PASSWORD}

    named = anonymous.post(TOKEN, {**credentials, "organization_id": str(other.id)})
    unnamed = anonymous.post(TOKEN, credentials)
    strange = anonymous.post(TOKEN, {**credentials, "organization_id": str(new_id())})

    assert {o["organization_id"]: o["role"] for o in named.json["organizations"]} == {
        str(tenant.id): "admin", str(other.id): "trainer",
    }  # fmt: skip
    assert named.json["organization_id"] == unnamed.json["organization_id"] == str(other.id)
    assert (strange.status, strange.problem["code"]) == (403, "no_membership")


def change(app, tenant, model, row, **values):
    with app.app_context(), unit_of_work(system=True, organization_id=tenant.id) as session:
        entity = session.query(model).filter_by(**row).one()
        for name, value in values.items():
            setattr(entity, name, value)


def test_a_raised_session_version_ends_every_session_at_the_next_request(app, api, tenant):
    change(app, tenant, User, {"id": api.user_id}, session_version=2)

    ended = api.get("/api/me/")

    assert (ended.status, ended.problem["code"]) == (401, "session_ended")
    api.headers["Authorization"] = f"Bearer {tenant.token(api.user_id, session_version=2)}"
    assert api.get("/api/me/").status == 200


@pytest.mark.parametrize(("model", "row"), [(Membership, "user_id"), (User, "id")])
def test_a_disabled_membership_or_user_is_refused_at_the_next_request(app, api, anonymous, tenant, model, row):
    email = email_of(api)
    change(app, tenant, model, {row: api.user_id}, status="disabled")

    assert (api.get("/api/me/").status, api.post("/api/students/", {}).status) == (401, 422)
    assert api.post("/api/students/", {"code": "S", "given_name": "A", "family_name": "B"}).status == 401
    assert anonymous.post(TOKEN, {"email": email, "password": PASSWORD}).status in (401, 403)


def test_a_new_role_takes_effect_at_the_next_request(app, api, tenant):
    assert api.get("/api/users/").status == 200
    change(app, tenant, Membership, {"user_id": api.user_id}, role="client")

    assert api.get("/api/users/").status == 403


def test_a_suspended_organization_refuses_all_sign_ins(app, api, anonymous, tenant):
    email = email_of(api)
    change(app, tenant, Organization, {"id": tenant.id}, status="suspended")

    refused = api.get("/api/me/")

    assert (refused.status, refused.problem["code"]) == (403, "organization_suspended")
    assert anonymous.post(TOKEN, {"email": email, "password": PASSWORD}).status == 403


def test_a_changed_name_appears_in_the_users_other_organization(app, api, tenant, other):
    with app.app_context(), unit_of_work(system=True, organization_id=other.id) as session:
        session.add(Membership(organization_id=other.id, user_id=api.user_id, role="trainer"))
    there = Client(app, {"Authorization": f"Bearer {other.token(api.user_id)}"})
    tag = there.get("/api/me/").headers["ETag"]

    api.patch("/api/me/", {"name": "Another Name"})

    assert there.get("/api/me/", headers={"If-None-Match": tag}).json["name"] == "Another Name"


def test_the_etag_changes_with_every_row_that_the_response_shows(app, api, tenant, other):
    tag = api.get("/api/me/").headers["ETag"]
    assert api.get("/api/me/", headers={"If-None-Match": tag}).status == 304
    with app.app_context(), unit_of_work(system=True, organization_id=other.id) as session:
        session.add(Membership(organization_id=other.id, user_id=api.user_id, role="trainer"))

    assert len(api.get("/api/me/", headers={"If-None-Match": tag}).json["organizations"]) == 2


# Tokens --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def forge(app, settings, tenant, api):
    """Return a maker of tokens: claims and headers may be changed, or omitted with None."""
    (kid, seed), *_ = read_keys(settings.jwt_private_keys).items()
    now = int(time.time())
    claims = {
        "sub": str(api.user_id), "org": str(tenant.id), "sid": str(new_id()), "sv": 1, "type": "access", "jti": "x",
        "iat": now, "nbf": now, "exp": now + 600, "iss": "campshub", "aud": "campshub", "fresh": False,
    }  # fmt: skip

    def make(key=None, algorithm="EdDSA", headers=None, **changed):
        signed = {name: value for name, value in {**claims, **changed}.items() if value is not None}
        signing = Ed25519PrivateKey.from_private_bytes(seed) if key is None else key
        return jwt.encode(signed, signing, algorithm, headers={"kid": kid, **(headers or {})})

    make.kid, make.seed, make.claims = kid, seed, claims
    return make


def status_with(app, token) -> int:
    response = app.test_client().get("/api/me/", headers={"Authorization": f"Bearer {token}"})
    if response.status_code == 401:
        assert response.mimetype == "application/problem+json"
        assert response.headers["WWW-Authenticate"].startswith("Bearer")
    return response.status_code


def test_a_genuine_token_is_accepted(app, forge):
    assert status_with(app, forge()) == 200


def test_a_forged_token_is_refused(app, forge):
    def encoded(part):
        return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=")

    def signed_with_public_key():
        public = Ed25519PrivateKey.from_private_bytes(forge.seed).public_key()
        for secret in (
            public.public_bytes(Encoding.Raw, PublicFormat.Raw),
            public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        ):
            signed = encoded({"alg": "HS256", "typ": "JWT", "kid": forge.kid}) + b"." + encoded(forge.claims)
            mac = hmac.new(secret, signed, hashlib.sha256).digest()
            yield (signed + b"." + base64.urlsafe_b64encode(mac).rstrip(b"=")).decode()

    none = (encoded({"alg": "none", "kid": forge.kid}) + b"." + encoded(forge.claims) + b".").decode()
    genuine = forge()
    head, _, tail = genuine.partition(".")
    forged = [
        none,
        *signed_with_public_key(),
        forge(key=Ed25519PrivateKey.generate()),
        forge(headers={"kid": "unknown"}),
        (base64.urlsafe_b64encode(b"[" * 2000).rstrip(b"=") + b".e30.c2ln").decode(),
        f"{head}.{encoded({**forge.claims, 'sub': str(new_id())}).decode()}.{tail.rpartition('.')[2]}",
        genuine[:-4] + ("AAAA" if genuine[-4:] != "AAAA" else "BBBB"),
        encoded({"alg": "EdDSA", "kid": ["a"]}).decode() + genuine[len(head) :],
        encoded({"alg": "EdDSA"}).decode() + genuine[len(head) :],
        "", ".", "..", "a.b.c", "ü", "x" * 5000, "null",
    ]  # fmt: skip

    assert [token[:40] for token in forged if status_with(app, token) != 401] == []


@pytest.mark.parametrize(
    "changed",
    [
        *({name: None} for name in ("sub", "org", "sid", "sv", "type", "jti", "iat", "exp", "iss", "aud")),
        {"exp": 1}, {"nbf": 99_999_999_999}, {"iat": 99_999_999_999}, {"iss": "another"}, {"aud": "another"},
        {"type": "refresh"}, {"type": "mfa"}, {"sub": "no id"}, {"org": 5}, {"sv": "x"}, {"sv": 2},
        {"sub": UNKNOWN_ID},
        {"org": UNKNOWN_ID},
    ],
    ids=str,
)  # fmt: skip
def test_a_token_with_missing_or_wrong_claims_is_refused(app, forge, changed):
    assert status_with(app, forge(**changed)) == 401


def test_a_genuine_token_expires(app, forge, monkeypatch):
    token = forge()
    assert status_with(app, token) == 200
    later = time.time() + 601
    monkeypatch.setattr("campshub.core.security.tokens.time.time", lambda: later)

    assert status_with(app, token) == 401


def test_a_token_signed_by_an_older_key_is_accepted(app, settings, stack, database, tenant, api):
    from campshub.app import create_app  # noqa: PLC0415
    from tests.conftest import settings_of  # noqa: PLC0415

    new = "new:" + base64.urlsafe_b64encode(bytes(range(32))).decode()
    rotated = create_app(settings_of(stack, database, jwt_private_keys=f"{new},{settings.jwt_private_keys}"))

    assert Client(rotated, api.headers).get("/api/me/").status == 200
    with rotated.app_context():
        token = rotated.extensions["campshub"].tokens.issue(
            user_id=api.user_id, organization_id=tenant.id, session_id=new_id(), session_version=1
        )
        for engine in rotated.extensions["sqlalchemy"].engines.values():
            engine.dispose()
    assert status_with(app, token) == 401  # which does not know the new key
    assert rotated.extensions["campshub"].tokens.lifetime == timedelta(minutes=30)


def test_other_authorization_schemes_are_refused(app):
    for header in ("", "Basic YTpi", "Bearer", "Bearer ", "Token x"):
        assert app.test_client().get("/api/me/", headers={"Authorization": header}).status_code == 401


# Organizations -------------------------------------------------------------------------------------------------------


def test_an_organization_is_created_with_its_first_admin(tenant, anonymous, sql):
    email = f"{new_id().hex}@example.org"
    body = {"name": "New Camp", "time_zone": "Asia/Kolkata", "currency": "INR", "admin_email": email,
            "admin_name": "Head", "admin_password": "correct horse battery"}  # fmt: skip
    founder = tenant.the(Role.SUPERADMIN)

    made = founder.post("/api/organizations/", body)

    assert made.status == 201
    signed_in = anonymous.post(TOKEN, {"email": email, "password": body["admin_password"]})
    assert signed_in.json["organization_id"] == made.json["id"]
    again = founder.post("/api/organizations/", body)
    assert (again.status, again.problem["code"]) == (409, "email_taken")
    assert sql("SELECT count(*) FROM organizations WHERE name = 'New Camp'") == [(1,)]
    who = sql("SELECT DISTINCT user_id FROM audit_log WHERE organization_id = %s", made.json["id"])
    assert who == [(founder.user_id,)]


def test_an_admin_changes_the_current_version_of_their_organization(api):
    tag = api.get("/api/organization/").headers["ETag"]

    changed = api.patch("/api/organization/", {"time_zone": "Europe/Berlin"}, headers={"If-Match": tag})
    late = api.patch("/api/organization/", {"name": "Late"}, headers={"If-Match": tag})
    wrong = api.patch("/api/organization/", {"time_zone": "Mars/Olympus"})

    assert (changed.status, changed.json["time_zone"]) == (200, "Europe/Berlin")
    assert (late.status, wrong.status, wrong.pointers) == (412, 422, {"/time_zone"})


def test_users_are_listed_by_name_with_their_roles(tenant, api):
    for role in Role:
        tenant.the(role)

    shown = api.get("/api/users/")
    trainers = api.get("/api/users/?role=trainer")

    assert {user["role"] for user in shown.json["items"]} == set(Role)
    assert len(shown.queries) == 1
    assert [user["id"] for user in trainers.json["items"]] == [str(tenant.the(Role.TRAINER).user_id)]


def test_an_organizations_plan_limits_its_users_from_their_next_token_on(app, tenant, api, sql):
    user = tenant.someone()
    email = user.get("/api/me/").json["email"]
    command = ("organizations", "set-plan", "--organization", str(tenant.id))
    made = app.test_cli_runner().invoke(args=[*command, "--requests-per-hour", "2"])
    assert (made.exit_code, "2 requests an hour" in made.output) == (0, True), made.output

    assert user.get("/api/me/").status == 200  # its token is from before
    tokens = Client(app).made("/api/auth/token/", {"email": email, "password": PASSWORD})
    later = Client(app, {"Authorization": f"Bearer {tokens['access_token']}"})
    first = later.get("/api/organization/")
    assert '"user";q=2;w=3600' in first.headers["RateLimit-Policy"]
    assert later.get("/api/organization/").status == 429  # the one before counts as well
    assert api.get("/api/organization/").json["requests_per_hour"] == 2

    again = app.test_cli_runner().invoke(args=list(command))
    assert (again.exit_code, "what RATE_LIMIT_USER says" in again.output) == (0, True)
    refreshed = Client(app).made("/api/auth/refresh/", {"refresh_token": tokens["refresh_token"]})
    usual = Client(app, {"Authorization": f"Bearer {refreshed['access_token']}"}).get("/api/organization/")
    assert usual.status == 200
    assert '"user";q=2;' not in usual.headers["RateLimit-Policy"]
