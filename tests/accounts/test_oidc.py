"""ID tokens of other issuers: each is verified completely, exchanged once, and signs in its owner."""

import base64
import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from campshub.accounts.models import Membership, Organization, User
from campshub.app import create_app
from campshub.core.db.models import new_id
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.security.permissions import Role
from tests.accounts.conftest import events, signed_in
from tests.conftest import PASSWORD, Client, close, new_tenant, settings_of
from tests.issuer import AUDIENCE, Issuer, encoded, the_issuer

OIDC, IDENTITIES = "/api/auth/oidc/", "/api/auth/oidc/identities/"
AT_ONCE = 50


def refused(response):
    """Return a refusal without what differs from request to request."""
    return response.status, {name: value for name, value in response.problem.items() if name != "trace_id"}


def changed(app, tenant, model, row, **values):
    with app.app_context(), unit_of_work(system=True, organization_id=tenant.id) as session:
        entity = session.query(model).filter_by(**row).one()
        for name, value in values.items():
            setattr(entity, name, value)


# Effects of a valid token ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
def test_an_id_token_is_exchanged_for_our_tokens(anonymous, api, tenant, issuer, mail, sql, algorithm):
    response = anonymous.post(OIDC, {"id_token": issuer.token(algorithm, **mail), "issuer": issuer.url})

    assert response.status == 200, response.raw.text
    assert (
        response.json.keys()
        == anonymous.post("/api/auth/token/", {"email": mail["email"], "password": PASSWORD}).json.keys()
    )
    assert response.headers["Cache-Control"] == "no-store"
    assert response.json["organization_id"] == str(tenant.id)
    me = anonymous.get("/api/me/", headers={"Authorization": f"Bearer {response.json['access_token']}"})
    assert (me.status, me.json["id"]) == (200, str(api.user_id))
    assert (
        Client(anonymous.app).post("/api/auth/refresh/", {"refresh_token": response.json["refresh_token"]}).status
        == 200
    )
    assert events(sql, "identity_linked", api.user_id) == 1


def test_a_linked_identity_no_longer_needs_an_address(anonymous, api, issuer, mail):
    subject = new_id().hex
    first = anonymous.post(OIDC, {"id_token": issuer.token(sub=subject, **mail)})
    later = anonymous.post(OIDC, {"id_token": issuer.token(sub=subject)})

    assert (first.status, later.status) == (200, 200)
    assert [row["subject"] for row in api.get(IDENTITIES).json["items"]] == [subject]


def test_an_address_with_another_subject_is_not_linked(anonymous, api, issuer, mail):
    assert anonymous.post(OIDC, {"id_token": issuer.token(**mail)}).status == 200

    assert anonymous.post(OIDC, {"id_token": issuer.token(**mail)}).status == 401  # another sub
    assert len(api.get(IDENTITIES).json["items"]) == 1


def test_a_token_creates_no_user(anonymous, issuer, sql):
    email = f"{new_id().hex}@example.org"

    assert anonymous.post(OIDC, {"id_token": issuer.token(email=email, email_verified=True)}).status == 401
    assert sql("SELECT 1 FROM users WHERE email_key = %s", email) == []


def test_an_invited_user_becomes_active(app, anonymous, api, tenant, issuer, mail):
    changed(app, tenant, User, {"id": api.user_id}, status="invited")
    assert api.get("/api/me/").status == 401

    response = anonymous.post(OIDC, {"id_token": issuer.token(**mail)})

    assert response.status == 200
    assert anonymous.get("/api/me/", headers={"Authorization": f"Bearer {response.json['access_token']}"}).status == 200


def test_the_named_or_else_the_last_organization_is_used(app, anonymous, api, tenant, other, issuer, mail):
    subject = new_id().hex
    with app.app_context(), unit_of_work(system=True, organization_id=other.id) as session:
        session.add(Membership(organization_id=other.id, user_id=api.user_id, role="trainer"))

    def exchange(**fields):
        return anonymous.post(OIDC, {"id_token": issuer.token(sub=subject, **mail), **fields})

    assert exchange(organization_id=str(other.id)).json["organization_id"] == str(other.id)
    assert exchange().json["organization_id"] == str(other.id)
    assert exchange(organization_id=str(new_id())).problem["code"] == "no_membership"
    changed(app, other, Organization, {"id": other.id}, status="suspended")
    assert exchange(organization_id=str(other.id)).problem["code"] == "no_membership"
    assert exchange().json["organization_id"] == str(tenant.id)


# What is refused -----------------------------------------------------------------------------------------------------


NOW = time.time()
BAD = {
    "alg none": lambda i, m: i.unsigned(**m),
    "HS256 with the public key": lambda i, m: i.signed_as_hmac(**m),
    "another algorithm than the key's": lambda i, m: i.token("ES256", {"kid": i.private["RS256"][0]}, **m),
    "the issuer's name, another's key": lambda _, m: Issuer("RS256").token(**{**m, "iss": the_issuer().url}),
    "another issuer": lambda _, m: Issuer("RS256").token(**m),
    "another audience": lambda i, m: i.token(aud="someone-else", **m),
    "another audience as well": lambda i, m: i.token(aud=[AUDIENCE, "someone-else"], azp=AUDIENCE, **m),
    "no audience": lambda i, m: i.token(aud=None, **m),
    "run out": lambda i, m: i.token(iat=int(NOW) - 7200, exp=int(NOW) - 3600, **m),
    "no end": lambda i, m: i.token(exp=None, **m),
    "an end too far away": lambda i, m: i.token(exp=int(NOW) + 200_000, **m),
    "an end that is no number": lambda i, m: i.token(exp="9" * 400, **m),
    "issued tomorrow": lambda i, m: i.token(iat=int(NOW) + 7200, exp=int(NOW) + 9000, **m),
    "no date": lambda i, m: i.token(iat=None, **m),
    "not yet": lambda i, m: i.token(nbf=int(NOW) + 7200, **m),
    "no subject": lambda i, m: i.token(sub=None, **m),
    "an empty name": lambda i, m: i.token(sub="", **m),
    "a name without end": lambda i, m: i.token(sub="x" * 300, **m),
    "an address that is not verified": lambda i, m: i.token(**{**m, "email_verified": False}),
    "an address without verification claim": lambda i, m: i.token(**{**m, "email_verified": None}),
    "no address": lambda i, _: i.token(),
    "a token for something else": lambda i, m: i.token("", {"typ": "at+jwt"}, **m),
    "an unknown extension": lambda i, m: i.token("", {"crit": ["b64"], "b64": True}, **m),
    "an unknown key": lambda i, m: i.token("", {"kid": "made up"}, **m),
    "a key that is no text": lambda i, m: f"{encoded({'alg': 'RS256', 'kid': 7})}.{encoded(i.claims(**m))}.AAAA",
    "a signature of nothing": lambda i, m: i.token(**m).rpartition(".")[0] + ".",
    "changed in transit": lambda i, m: ".".join(
        (i.token(**m).split(".")[0], encoded(i.claims(**m)), i.token(**m).split(".")[2])
    ),
    "an issuer that is a list": lambda i, m: f"{encoded({'alg': 'RS256'})}.{encoded({**m, 'iss': [i.url]})}.AAAA",
    "no object": lambda *_: f"{encoded({'alg': 'RS256'})}.{encoded([1])}.AAAA",
    "no token": lambda *_: "not a token",
}


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_token_is_refused_like_any_other(anonymous, api, issuer, mail, bad):
    response = anonymous.post(OIDC, {"id_token": BAD[bad](issuer, mail)})

    assert refused(response) == refused(anonymous.post(OIDC, {"id_token": "x"}))
    assert (response.status, response.problem["code"]) == (401, "bad_id_token")
    assert api.get(IDENTITIES).json == {"items": []}


@pytest.mark.parametrize(
    ("claims", "fields"),
    [
        ({"nonce": "one"}, {"nonce": "another"}),
        ({}, {"nonce": "one"}),
        ({}, {"issuer": "https://accounts.example.org"}),
        ({"aud": [AUDIENCE, "app"], "azp": "elsewhere"}, {}),
        ({"aud": [AUDIENCE, "app"]}, {}),
    ],
)
def test_nonce_issuer_and_authorized_party_must_match(stack, database, api, issuer, mail, claims, fields):
    with_two = json.dumps([issuer.setting(audiences=[AUDIENCE, "app"])])
    app = create_app(settings_of(stack, database, oidc_issuers=with_two))

    bad = Client(app).post(OIDC, {"id_token": issuer.token(**mail, **claims), **fields})
    good = {**claims, **({"azp": "app"} if "aud" in claims else {}), **({"nonce": "n"} if "nonce" in fields else {})}
    same = {name: {"nonce": "n", "issuer": issuer.url}[name] for name in fields}
    fine = Client(app).post(OIDC, {"id_token": issuer.token(**mail, **good), **same})
    close(app)

    assert (bad.status, bad.problem["code"]) == (401, "bad_id_token")
    assert fine.status == 200, fine.raw.text


def test_clocks_may_differ_a_little(anonymous, issuer, mail):
    now, subject = int(time.time()), new_id().hex
    late = issuer.token(sub=subject, iat=now - 600, exp=now - 10, **mail)
    early = issuer.token(sub=subject, iat=now + 10, nbf=now + 10, **mail)

    assert [anonymous.post(OIDC, {"id_token": one}).status for one in (late, early)] == [200, 200]


@pytest.mark.parametrize("model", [User, Membership])
def test_a_disabled_user_or_member_is_refused(app, anonymous, api, tenant, issuer, mail, model):
    subject = new_id().hex
    assert anonymous.post(OIDC, {"id_token": issuer.token(sub=subject, **mail)}).status == 200
    changed(app, tenant, model, {"id" if model is User else "user_id": api.user_id}, status="disabled")

    for claims in ({"sub": subject}, {}):
        response = anonymous.post(OIDC, {"id_token": issuer.token(**claims, **mail)})
        assert response.status == (401 if model is User or not claims else 403)


def test_an_issuer_not_trusted_for_addresses_links_no_user_by_address(stack, database, issuer, api, mail):
    app = create_app(settings_of(stack, database, oidc_issuers=json.dumps([issuer.setting(trusts_email=False)])))
    subject = new_id().hex

    before = Client(app).post(OIDC, {"id_token": issuer.token(sub=subject, **mail)})
    client = signed_in(api)
    linked = client.post(IDENTITIES, {"id_token": issuer.token(sub=subject)})
    after = Client(app).post(OIDC, {"id_token": issuer.token(sub=subject)})
    close(app)

    assert (before.status, linked.status, after.status) == (401, 201, 200)


def test_refusals_are_security_events(anonymous, api, issuer, mail, sql):
    platforms = "SELECT count(*) FROM security_events WHERE kind = 'id_token_refused' AND user_id IS NULL"
    before, good = sql(platforms), issuer.token(**mail)
    anonymous.post(OIDC, {"id_token": issuer.unsigned(**mail)})

    assert sql(platforms)[0][0] == before[0][0] + 1
    assert anonymous.post(OIDC, {"id_token": good}).status == 200
    assert anonymous.post(OIDC, {"id_token": good}).status == 401
    assert events(sql, "id_token_refused", api.user_id) == 1


# Single use ---------------------------------------------------------------------------------------------------------


def test_a_token_is_exchanged_once(anonymous, issuer, mail):
    token = issuer.token("ES256", **mail)
    first, again = (anonymous.post(OIDC, {"id_token": token}) for _ in range(2))

    assert (first.status, again.status) == (200, 401)
    assert refused(again) == refused(anonymous.post(OIDC, {"id_token": "x"}))


def test_another_encoding_of_its_signature_is_no_second_token(anonymous, issuer, mail):
    """With an ES256 signature (r, s), (r, n - s) is valid too, and anyone with one can compute the other."""
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    token = issuer.token("ES256", **mail)
    head, _, signature = token.rpartition(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    mirrored = raw[:32] + (order - int.from_bytes(raw[32:], "big")).to_bytes(32, "big")

    assert anonymous.post(OIDC, {"id_token": token}).status == 200
    assert anonymous.post(OIDC, {"id_token": f"{head}.{encoded(mirrored)}"}).status == 401


def test_of_fifty_concurrent_exchanges_of_one_token_one_succeeds(app, issuer, mail):
    token = issuer.token(**mail)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        statuses = list(pool.map(lambda _: Client(app).post(OIDC, {"id_token": token}).status, range(AT_ONCE)))
    while 503 in statuses:  # a busy database delays some
        statuses.remove(503)
        statuses.append(Client(app).post(OIDC, {"id_token": token}).status)

    assert sorted(statuses) == [200] + [401] * (AT_ONCE - 1)


def test_expired_entries_are_removed(anonymous, issuer, mail, sql):
    sql("INSERT INTO exchanged_id_tokens VALUES ('\\x01', now() - INTERVAL '1 minute') RETURNING 1")
    anonymous.post(OIDC, {"id_token": issuer.token(**mail)})

    assert sql("SELECT 1 FROM exchanged_id_tokens WHERE key = '\\x01'") == []


# Linking -------------------------------------------------------------------------------------------------------------


def test_a_user_links_lists_and_removes_their_identities(app, anonymous, api, tenant, issuer, sql):
    client, subject = signed_in(api), new_id().hex
    made = client.post(IDENTITIES, {"id_token": issuer.token(sub=subject)})

    assert (made.status, made.json["issuer"], made.json["subject"]) == (201, issuer.url, subject)
    assert client.post(IDENTITIES, {"id_token": issuer.token(sub=subject)}).json["id"] == made.json["id"]
    assert client.get(IDENTITIES).json == {"items": [made.json]}
    assert anonymous.post(OIDC, {"id_token": issuer.token(sub=subject)}).status == 200
    neighbour = signed_in(tenant.someone(Role.ADMIN))
    assert neighbour.delete(f"{IDENTITIES}{made.json['id']}/").status == 404
    assert client.delete(f"{IDENTITIES}{made.json['id']}/").status == 204
    assert client.delete(f"{IDENTITIES}{made.json['id']}/").status == 404
    assert anonymous.post(OIDC, {"id_token": issuer.token(sub=subject)}).status == 401
    assert (events(sql, "identity_linked", api.user_id), events(sql, "identity_unlinked", api.user_id)) == (1, 1)


def test_linking_requires_a_recently_confirmed_password(app, api, issuer, sql):
    client, token = signed_in(api), issuer.token()
    identity = client.made(IDENTITIES, {"id_token": issuer.token()})["id"]
    sql("UPDATE sign_in_sessions SET authenticated_at = now() - INTERVAL '1 hour' WHERE user_id = %s RETURNING 1",
        api.user_id)  # fmt: skip

    link, unlink = client.post(IDENTITIES, {"id_token": token}), client.delete(f"{IDENTITIES}{identity}/")

    assert [one.problem["code"] for one in (link, unlink)] == ["step_up_required"] * 2
    assert client.post("/api/auth/step-up/", {"password": PASSWORD}).status == 204
    assert client.post(IDENTITIES, {"id_token": token}).status == 201


def test_an_identity_belongs_to_one_user(app, api, tenant, issuer):
    subject, other_one = new_id().hex, tenant.someone(Role.ADMIN)
    assert signed_in(api).post(IDENTITIES, {"id_token": issuer.token(sub=subject)}).status == 201

    taken = signed_in(other_one).post(IDENTITIES, {"id_token": issuer.token(sub=subject)})

    assert (taken.status, taken.problem["code"]) == (409, "identity_taken")


def test_a_used_or_invalid_token_links_nothing(app, anonymous, api, issuer, mail):
    used, client = issuer.token(**mail), signed_in(api)
    assert anonymous.post(OIDC, {"id_token": used}).status == 200

    for token in (used, issuer.unsigned()):
        assert client.post(IDENTITIES, {"id_token": token}).pointers == {"/id_token"}


@pytest.mark.parametrize(("ago_s", "status"), [(None, 403), (3600, 403), (60, 201), (-3600, 201)])
def test_dangerous_operations_check_auth_time_of_the_issuer(app, anonymous, issuer, mail, ago_s, status):
    auth_time = None if ago_s is None else int(time.time()) - ago_s
    tokens = anonymous.made(OIDC, {"id_token": issuer.token(auth_time=auth_time, **mail)})
    client = Client(app, {"Authorization": f"Bearer {tokens['access_token']}"})

    assert client.post(IDENTITIES, {"id_token": issuer.token()}).status == status


def test_without_an_issuer_no_token_is_accepted(stack, database, issuer, mail):
    app = create_app(settings_of(stack, database, oidc_issuers=""))
    response = Client(app).post(OIDC, {"id_token": issuer.token(**mail)})
    close(app)

    assert (response.status, response.problem["code"]) == (401, "bad_id_token")


def test_an_organization_without_membership_is_refused(app, anonymous, issuer, mail):
    unrelated = new_tenant(app)

    response = anonymous.post(OIDC, {"id_token": issuer.token(**mail), "organization_id": str(unrelated.id)})

    assert (response.status, response.problem["code"]) == (403, "no_membership")
