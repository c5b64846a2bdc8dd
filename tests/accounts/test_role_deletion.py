"""A role that is deleted: no member and no open invitation has it, whatever happens at the same time."""

from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

from campshub.core.db.models import new_id
from campshub.core.security.permissions import Role
from tests.accounts.conftest import outcome
from tests.conftest import Client


def test_a_role_of_a_member_or_an_open_invitation_is_not_deleted(app, api, tenant, role, holder):
    made = role("students:read")
    client = holder(made)
    invited = api.made("/api/invitations/", {"email": "a@example.org", "role_id": made})

    refused = api.delete(f"/api/roles/{made}/")
    assert outcome(refused) == (409, "role_in_use")
    assert refused.problem["detail"] == "Users with this role: 1; open invitations with it: 1."
    assert api.patch(f"/api/users/{client.user_id}/", {"role": "client"}).json["role_id"] is None
    assert outcome(api.delete(f"/api/roles/{made}/")) == (409, "role_in_use")
    assert api.delete(f"/api/invitations/{invited['id']}/").status == 204

    assert api.delete(f"/api/roles/{made}/").status == 204
    assert api.get(f"/api/roles/{made}/").status == 404
    (shown,) = api.get("/api/invitations/").json["items"]
    assert (shown["role"], shown["role_id"], shown["status"]) == ("custom", None, "revoked")


def test_a_role_deleted_while_it_is_assigned_is_either_deleted_or_assigned(app, api, tenant, role, sql):
    for _ in range(5):
        made, clients = role("students:read"), [tenant.someone(Role.CLIENT) for _ in range(4)]
        calls = [("DELETE", f"/api/roles/{made}/", None)] * 2
        calls += [("PATCH", f"/api/users/{one.user_id}/", {"role_id": made}) for one in clients]
        with ThreadPoolExecutor(len(calls)) as pool:
            responses = list(pool.map(lambda call: Client(app, api.headers).call(*call), calls))

        deleted = 204 in [response.status for response in responses[:2]]
        assigned = [response.status for response in responses[2:]].count(200)
        assert (deleted, assigned > 0) in ((True, False), (False, True)), [response.status for response in responses]
        assert {response.status for response in responses} <= {200, 204, 404, 409, 422, 503}
        assert sql("SELECT count(*) FROM memberships WHERE role_id = %s", UUID(made)) == [(assigned,)]


def test_a_role_deleted_while_it_is_promised_is_either_deleted_or_promised(app, api, role, sql):
    for _ in range(5):
        made = role("students:read")
        calls = [("DELETE", f"/api/roles/{made}/", None)] * 2
        calls += [("POST", "/api/invitations/", {"email": f"{new_id().hex}@example.org", "role_id": made})] * 4
        with ThreadPoolExecutor(len(calls)) as pool:
            responses = list(pool.map(lambda call: Client(app, api.headers).call(*call), calls))

        statuses = [response.status for response in responses]
        deleted, promised = 204 in statuses[:2], statuses[2:].count(201)
        assert (deleted, promised > 0) in ((True, False), (False, True)), statuses
        assert set(statuses) <= {201, 204, 404, 409, 422, 503}
        assert sql("SELECT count(*) > 0 FROM invitations WHERE role_id = %s", UUID(made)) == [(promised > 0,)]


def test_an_invitation_keeps_its_version_when_its_role_is_deleted(api, role):
    made = role("students:read")
    invited = api.made("/api/invitations/", {"email": "a@example.org", "role_id": made})
    assert api.delete(f"/api/invitations/{invited['id']}/").status == 204
    (before,) = api.get("/api/invitations/").json["items"]

    assert api.delete(f"/api/roles/{made}/").status == 204

    assert api.get("/api/invitations/").json["items"] == [{**before, "role_id": None}]
