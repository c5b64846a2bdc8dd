"""A suspended or closed organization is shut at the next request, whatever is cached; its data stays."""

import time

import pytest

from campshub.accounts.models import Membership
from campshub.core.db.models import PLATFORM_ID, new_id
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.jobs import runner
from campshub.core.security.permissions import Role
from tests.conftest import PASSWORD, Client, new_tenant
from tests.issuer import the_issuer

PATIENCE_S = 30
LIST = "/api/students/?limit=2"


@pytest.fixture
def superadmin(app):
    """A superadmin of the platform, who belongs to another organization."""
    return new_tenant(app).the(Role.SUPERADMIN)


def url_of(tenant):
    return f"/api/organizations/{tenant.id}/"


def tokens_of(app, client):
    return Client(app).made("/api/auth/token/", {"email": client.get("/api/me/").json["email"], "password": PASSWORD})


def signed_in(app, client):
    return Client(app, {"Authorization": f"Bearer {tokens_of(app, client)['access_token']}"}, client.user_id)


def warm(client, url):
    """Repeat the request until the response comes from the cache, without a statement."""
    deadline = time.monotonic() + PATIENCE_S
    while client.get(url).statements:
        assert time.monotonic() < deadline, "nothing is cached"
        time.sleep(0.1)


@pytest.mark.parametrize("status", ["suspended", "closed"])
def test_a_cached_response_is_no_longer_served(superadmin, api, student, tenant, status):
    student()
    warm(api, LIST)

    assert superadmin.patch(url_of(tenant), {"status": status}).status == 200
    shut = api.get(LIST)

    assert (shut.status, shut.problem["code"]) == (403, "organization_suspended")
    assert superadmin.patch(url_of(tenant), {"status": "active"}).status == 200
    assert len(api.get(LIST).json["items"]) == 1


@pytest.mark.parametrize("status", ["suspended", "closed"])
def test_all_access_is_refused(app, superadmin, api, tenant, other, status):
    email, tokens, anonymous = api.get("/api/me/").json["email"], tokens_of(app, api), Client(app)
    linked = the_issuer().token(email=email, email_verified=True)
    invited = api.made("/api/invitations/", {"email": f"{new_id().hex}@example.org", "role": "client"})
    with app.app_context(), unit_of_work(system=True, organization_id=other.id) as session:
        session.add(Membership(organization_id=other.id, user_id=api.user_id, role="client"))
    elsewhere = Client(app, {"Authorization": f"Bearer {other.token(api.user_id)}"})

    assert superadmin.patch(url_of(tenant), {"status": status}).status == 200

    named = {"organization_id": str(tenant.id)}
    responses = {
        "write": api.post("/api/students/", {"code": "S", "given_name": "A", "family_name": "B"}),
        "read": api.get("/api/me/"),
        "sign-in": anonymous.post("/api/auth/token/", {"email": email, "password": PASSWORD, **named}),
        "refresh": anonymous.post("/api/auth/refresh/", {"refresh_token": tokens["refresh_token"]}),
        "id token": anonymous.post("/api/auth/oidc/", {"id_token": linked, **named}),
        "switch": elsewhere.post("/api/auth/switch/", named),
    }
    assert {name: response.status for name, response in responses.items()} == dict.fromkeys(responses, 403)
    assert anonymous.post("/api/auth/token/", {"email": email, "password": PASSWORD}).json["organization_id"] == str(
        other.id
    )
    assert [o["organization_id"] for o in elsewhere.get("/api/me/").json["organizations"]] == [str(other.id)]
    with app.app_context():
        runner.run_due(app.extensions["campshub"])
    pending = "SELECT finished_at IS NULL FROM outbox WHERE organization_id = %s AND job = 'accounts.invite'"
    with app.app_context(), unit_of_work(system=True, read_only=True) as session:
        waiting = session.connection().exec_driver_sql(pending, (tenant.id,)).scalars().all()
    assert waiting == [True]
    assert superadmin.patch(url_of(tenant), {"status": "active"}).status == 200
    with app.app_context():
        runner.run_due(app.extensions["campshub"])
    with app.app_context(), unit_of_work(system=True, read_only=True) as session:
        assert session.connection().exec_driver_sql(pending, (tenant.id,)).scalars().all() == [False]
    assert api.get("/api/invitations/?limit=1").json["items"][0]["id"] == invited["id"]


def test_an_admin_closes_their_organization_with_a_recently_confirmed_password(app, api, tenant, sql):
    client = signed_in(app, api)
    old = sql("UPDATE sign_in_sessions SET authenticated_at = now() - INTERVAL '1 hour' WHERE user_id = %s RETURNING 1",
              api.user_id)  # fmt: skip
    assert old
    assert client.post("/api/organization/close/").problem["code"] == "step_up_required"
    assert client.post("/api/auth/step-up/", {"password": PASSWORD}).status == 204

    closed = client.post("/api/organization/close/")

    assert (closed.status, closed.json["status"]) == (200, "closed")
    assert closed.json["closed_at"] is not None
    assert client.get("/api/me/").problem["code"] == "organization_suspended"
    assert sql("SELECT kind FROM security_events WHERE organization_id = %s AND user_id = %s", tenant.id, api.user_id)[
        -1
    ] == ("organization_closed",)


def test_superadmins_change_the_state_and_the_organizations_audit_log_records_it(superadmin, api, tenant, sql):
    states = [
        superadmin.patch(url_of(tenant), {"status": status}).json["status"]
        for status in ("suspended", "suspended", "closed", "active")
    ]

    assert states == ["suspended", "suspended", "closed", "active"]
    logged = sql(
        "SELECT user_id, after ->> 'status' FROM audit_log WHERE organization_id = %s AND entity = 'organizations'"
        " AND action = 'changed' ORDER BY id",
        tenant.id,
    )
    assert logged == [(superadmin.user_id, status) for status in ("suspended", "closed", "active")]
    assert api.get("/api/organization/").json["closed_at"] is None


def test_an_unknown_state_or_version_is_refused(superadmin, api, tenant):
    assert superadmin.patch(f"/api/organizations/{new_id()}/", {"status": "suspended"}).status == 404
    assert superadmin.patch(f"/api/organizations/{PLATFORM_ID}/", {"status": "suspended"}).status == 404
    assert superadmin.patch(url_of(tenant), {"status": "gone"}).status == 422
    assert api.patch(url_of(tenant), {"status": "suspended"}).status == 403
    stale = superadmin.patch(url_of(tenant), {"status": "suspended"}, headers={"If-Match": '"9-x"'})
    assert (stale.status, api.get("/api/me/").status) == (412, 200)
