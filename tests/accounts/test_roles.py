"""An organization's own roles: changes take effect immediately, and no one grants more than they have."""

import time
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest

from campshub.accounts.service import invitations
from campshub.core.db.models import new_id
from campshub.core.security.permissions import OF_CUSTOM_ROLES, ROLES, Role
from tests.accounts.conftest import outcome
from tests.conftest import PASSWORD, Client

AT_ONCE = 20
NEW = "wrong donkey charger"
PEOPLE = ("me:read", "me:write")


# What a role allows --------------------------------------------------------------------------------------------------


def test_the_list_names_the_built_in_roles_and_the_organizations_own(api, other, role):
    own = role("students:read")
    other.the(Role.ADMIN).made("/api/roles/", {"name": "Theirs", "permissions": ["students:read"], "scope": "all"})

    items = api.get("/api/roles/").json["items"]

    assert [item["role"] for item in items] == [*Role, "custom"]
    assert [item["id"] for item in items] == [None] * len(Role) + [own]
    assert {item["role"]: set(item["permissions"]) for item in items[:-1]} == {r.value: set(ROLES[r]) for r in Role}
    assert set(items[-1]["permissions"]) == {"students:read", *PEOPLE}
    assert {name: api.get(f"/api/roles/{own}/").json[name] for name in items[-1]} == items[-1]


def test_an_own_role_grants_its_permissions_and_scope(api, role, holder, student):
    student()
    sees_all, sees_own = holder(role("students:read")), holder(role("students:read", scope="own"))

    assert len(sees_all.get("/api/students/").json["items"]) == 1
    assert sees_own.get("/api/students/").json["items"] == []
    for client in (sees_all, sees_own):
        assert client.get("/api/groups/").status == 403
        assert client.post("/api/students/", {}).status in (403, 422)
        assert client.patch("/api/me/", {"name": "Asha"}).status == 200
    me = sees_all.get("/api/me/").json
    assert (me["role"], me["scope"], set(me["permissions"])) == ("custom", "all", {"students:read", *PEOPLE})
    assert me["role_name"] == api.get(f"/api/roles/{me['role_id']}/").json["name"]
    assert api.get("/api/me/").json["role_name"] is None


def test_a_user_with_scope_groups_can_be_a_trainer(api, role, holder, student):
    trainer, office = holder(role("students:read", scope="groups")), holder(role("students:read", scope="own"))
    group = api.made("/api/groups/", {"code": "G", "name": "Blue", "trainer_ids": [str(trainer.user_id)]})
    inside, _outside = student(), student()
    api.made(f"/api/groups/{group['id']}/enrolments/", {"student_id": inside["id"], "begins_on": "2020-01-01"})

    assert [one["id"] for one in trainer.get("/api/students/").json["items"]] == [inside["id"]]
    refused = api.post("/api/groups/", {"code": "H", "name": "Red", "trainer_ids": [str(office.user_id)]})
    assert refused.status == 422


def test_a_user_with_scope_groups_can_create_groups_and_hand_them_over(api, tenant, role, holder):
    coach, trainer = holder(role("groups:read", "groups:write", scope="groups")), tenant.the(Role.TRAINER)
    fields = {"id": str(new_id()), "code": "G", "name": "Blue", "trainer_ids": [str(trainer.user_id)]}

    made, again = coach.post("/api/groups/", fields), coach.post("/api/groups/", fields)
    mine = coach.made("/api/groups/", {"code": "H", "name": "Red", "trainer_ids": [str(coach.user_id)]})
    address = f"/api/groups/{mine['id']}/"
    handed_over = coach.patch(address, {"trainer_ids": [str(trainer.user_id)]})

    assert (made.status, again.status, made.json["id"]) == (201, 200, fields["id"])
    assert (handed_over.status, handed_over.json["version"]) == (200, mine["version"] + 1)
    assert {one["id"] for one in trainer.get("/api/groups/").json["items"]} == {fields["id"], mine["id"]}
    assert [coach.get(where).status for where in (address, f"/api/groups/{fields['id']}/")] == [404, 404]
    assert coach.patch(address, {"name": "Green"}).status == 404


def test_a_change_of_a_role_takes_effect_at_the_next_request(api, role, holder, student):
    student()
    made = role("students:read")
    client = holder(made)
    for change, status, rows in (
        ({}, 200, 1),
        ({"permissions": ["groups:read"]}, 403, 0),
        ({"permissions": ["students:read"], "scope": "own"}, 200, 0),
        ({"scope": "all"}, 200, 1),
    ):
        assert not change or api.patch(f"/api/roles/{made}/", change).status == 200
        for _ in range(3):
            response = client.get("/api/students/")
            assert (response.status, len(response.json.get("items", ()))) == (status, rows), change


@pytest.mark.parametrize(
    ("fields", "status", "what"),
    [
        ({"permissions": ["organizations:write"]}, 422, "/permissions/0"),
        ({"permissions": ["students:read", "dragons:ride"]}, 422, "/permissions/1"),
        ({"permissions": []}, 422, "/permissions"),
        ({"scope": "world"}, 422, "/scope"),
        ({"name": "Admin"}, 409, "/name"),
        ({"name": "custom"}, 409, "/name"),
    ],
)
def test_an_invalid_role_is_refused(api, tenant, fields, status, what):
    body = {"name": "Desk", "permissions": ["students:read"], "scope": "all", **fields}
    for client in (api, tenant.the(Role.SUPERADMIN)):
        response = client.post("/api/roles/", body)
        assert (response.status, what in response.pointers) == (status, True)


def test_a_name_is_unique_in_every_spelling(app, api):
    body = {"name": "Desk", "permissions": ["students:read"], "scope": "all"}

    with ThreadPoolExecutor(AT_ONCE) as pool:
        names = ["desk", "DESK", "Desk"] * 6
        made = list(pool.map(lambda name: Client(app, api.headers).post("/api/roles/", {**body, "name": name}), names))

    assert sorted({outcome(response) for response in made} - {(503, "unavailable")}, key=str) == [
        (201, None),
        (409, "role_name_taken"),
    ]
    assert [response.status for response in made].count(201) == 1


@pytest.mark.parametrize("name", ["\uff21dmin", "Admin\u200b", "TRAINER", " admin\u2060 "])
def test_no_role_looks_like_a_built_in_one(api, name):
    body = {"name": name, "permissions": ["students:read"], "scope": "all"}

    assert outcome(api.post("/api/roles/", body)) == (409, "role_name_taken")


def test_an_organization_has_a_limited_number_of_roles(api, role, sql, tenant):
    role("students:read")
    sql("INSERT INTO roles (organization_id, id, name, name_key, permissions, scope) SELECT organization_id,"
        " gen_random_uuid(), n::text, n::text, permissions, scope FROM roles, generate_series(1, 99) n"
        " WHERE organization_id = %s RETURNING 1", tenant.id)  # fmt: skip

    response = api.post("/api/roles/", {"name": "One more", "permissions": ["students:read"], "scope": "all"})

    assert outcome(response) == (409, "too_many_roles")


def test_another_organizations_role_cannot_be_assigned(api, other, tenant):
    theirs = other.the(Role.ADMIN).made(
        "/api/roles/", {"name": "Theirs", "permissions": ["students:read"], "scope": "all"}
    )["id"]
    someone = tenant.someone(Role.CLIENT)
    person = {"email": f"{new_id().hex}@example.org", "name": "Asha", "password": NEW}

    for response in (
        api.patch(f"/api/users/{someone.user_id}/", {"role_id": theirs}),
        api.post("/api/users/", {**person, "role_id": theirs}),
        api.post("/api/invitations/", {"email": person["email"], "role_id": theirs}),
        api.patch("/api/organization/", {"mfa_roles": ["admin", theirs]}),
        api.patch("/api/organization/", {"mfa_roles": ["king"]}),
    ):
        assert outcome(response) == (422, "unknown_reference")
    assert api.get(f"/api/users/?role_id={theirs}").json["items"] == []


@pytest.mark.parametrize("fields", [{}, {"role": "client", "role_id": str(new_id())}])
def test_exactly_one_role_must_be_named(api, tenant, fields):
    person = {"email": f"{new_id().hex}@example.org", "name": "Asha", "password": NEW}
    responses = [
        api.post("/api/users/", {**person, **fields}),
        api.post("/api/invitations/", {"email": "a@b.de", **fields}),
    ]
    if fields:
        responses.append(api.patch(f"/api/users/{tenant.someone(Role.CLIENT).user_id}/", fields))

    assert [(response.status, response.pointers) for response in responses] == [(422, {"/role"})] * len(responses)


# Assigned, invited, deleted -------------------------------------------------------------------------------------------


def test_an_invitation_assigns_an_own_role(app, api, tenant, role):
    made_role = role("students:read")
    invited = api.made("/api/invitations/", {"email": f"{new_id().hex}@example.org", "role_id": made_role})
    assert (invited["role"], invited["role_id"]) == ("custom", made_role)
    token = invitations.token_of(app.extensions["campshub"], tenant.id, UUID(invited["id"]))

    accepted = Client(app).post("/api/invitations/accept/", {"token": token, "name": "Asha", "password": NEW})

    assert (accepted.status, accepted.json["role"]) == (200, "custom")
    assert [u["id"] for u in api.get(f"/api/users/?role_id={made_role}").json["items"]] == [accepted.json["user_id"]]
    assert len(api.get("/api/users/?role=custom").json["items"]) == 1


def test_an_own_role_can_require_a_second_factor(app, api, role, holder):
    made = role("students:read")
    client = holder(made)
    assert api.patch("/api/organization/", {"mfa_roles": ["admin", made, made]}).json["mfa_roles"] == ["admin", made]
    sign_in = {"email": client.get("/api/me/").json["email"], "password": PASSWORD}
    tokens = Client(app).made("/api/auth/token/", sign_in)

    signed_in = Client(app, {"Authorization": f"Bearer {tokens['access_token']}"})

    assert outcome(signed_in.get("/api/students/")) == (403, "mfa_required")
    assert signed_in.get("/api/auth/mfa/").json["is_required"] is True
    api.patch(f"/api/users/{client.user_id}/", {"role": "client"})
    assert api.delete(f"/api/roles/{made}/").status == 204
    assert api.get("/api/organization/").json["mfa_roles"] == ["admin"]


def test_every_change_of_a_role_is_in_the_audit_log(api, tenant, role, sql):
    made = role("students:read")
    api.patch(f"/api/roles/{made}/", {"permissions": ["groups:read"]})
    api.delete(f"/api/roles/{made}/")

    found = sql("SELECT action, user_id, before->'permissions', after->'permissions' FROM audit_log"
                " WHERE organization_id = %s AND entity = 'roles' ORDER BY id", tenant.id)  # fmt: skip
    assert [(action, user_id) for action, user_id, *_ in found] == [
        (action, api.user_id) for action in ("created", "changed", "deleted")
    ]
    assert ("students:read" in found[1][2], "groups:read" in found[1][3]) == (True, True)


# No one grants more than they have ------------------------------------------------------------------------------------

MANAGES = ("roles:read", "roles:write", "users:read", "users:write")
MANAGER = (*MANAGES, "students:read", "attendance:mark")
# Other own roles, relative to a manager's: permissions, scope, and whether the manager may manage them.
TARGETS = {
    "less": (("students:read",), "groups", True),
    "same": (MANAGER, "groups", True),
    "narrower": (MANAGER, "own", True),
    "one permission more": (("students:read", "students:write"), "groups", False),
    "sees further": (("students:read",), "all", False),
    "all": (sorted(OF_CUSTOM_ROLES), "all", False),
}


@pytest.mark.parametrize("target", TARGETS)
def test_a_manager_grants_no_more_than_they_have(api, tenant, role, holder, target):
    permissions, scope, allowed = TARGETS[target]
    manager = holder(role(*MANAGER, scope="groups"))
    harmless = role("students:read", scope="own")
    made = role(*permissions, scope=scope)
    had = holder(made)
    # The user to whom the manager assigns a role must have one that the manager may remove.
    victim = holder(harmless)

    responses = {
        "gives": manager.patch(f"/api/users/{victim.user_id}/", {"role_id": made}),
        "invites": manager.post("/api/invitations/", {"email": "a@example.org", "role_id": made}),
        "makes a user": manager.post(
            "/api/users/", {"email": f"{new_id().hex}@example.org", "name": "A", "password": NEW, "role_id": made}
        ),
        "makes a role": manager.post(
            "/api/roles/", {"name": f"Mine {target}", "permissions": list(permissions), "scope": scope}
        ),
        "changes a role into it": manager.patch(
            f"/api/roles/{role('students:read', scope='own')}/", {"permissions": list(permissions), "scope": scope}
        ),
        "changes it": manager.patch(f"/api/roles/{made}/", {"permissions": ["students:read"], "scope": "own"}),
        "deletes one like it": manager.delete(f"/api/roles/{role(*permissions, scope=scope)}/"),
        "disables who has it": manager.patch(f"/api/users/{had.user_id}/", {"status": "disabled"}),
        "takes it away": manager.patch(f"/api/users/{had.user_id}/", {"role_id": harmless}),
    }

    if not allowed:
        assert {name: outcome(response) for name, response in responses.items()} == dict.fromkeys(
            responses, (403, "role_not_yours")
        )
    else:
        assert {name for name, response in responses.items() if response.status not in (200, 201, 204)} == set()


@pytest.mark.parametrize("built_in", Role)
def test_a_manager_assigns_no_built_in_role_that_allows_more(tenant, role, holder, built_in):
    manager = holder(role(*MANAGER, scope="groups"))
    had = tenant.someone(built_in)
    person = {"email": f"{new_id().hex}@example.org", "name": "Asha", "password": NEW, "role": built_in.value}

    for response in (
        manager.post("/api/users/", person),
        manager.post("/api/invitations/", {"email": person["email"], "role": built_in.value}),
        manager.patch(f"/api/users/{had.user_id}/", {"status": "disabled"}),
        manager.patch(f"/api/users/{manager.user_id}/", {"role": built_in.value}),
    ):
        assert outcome(response) == (403, "role_not_yours")


def test_a_manager_cannot_raise_their_own_role(api, role, holder):
    mine = role(*MANAGER, scope="groups")
    manager = holder(mine)

    for change in ({"permissions": [*MANAGER, "students:write"]}, {"scope": "all"}):
        assert outcome(manager.patch(f"/api/roles/{mine}/", change)) == (403, "role_not_yours")
    assert set(manager.get("/api/me/").json["permissions"]) == {*MANAGER, *PEOPLE}
    # Lowering one's own role is permitted; it takes effect immediately.
    assert manager.patch(f"/api/roles/{mine}/", {"permissions": ["roles:read"]}).status == 200
    assert manager.patch(f"/api/roles/{mine}/", {"permissions": list(MANAGER)}).status == 403


def test_an_own_role_with_all_permissions_is_no_admin(api, tenant, role, holder):
    everything = holder(role(*sorted(OF_CUSTOM_ROLES)))

    response = api.patch(f"/api/users/{api.user_id}/", {"role": "trainer"})

    assert outcome(response) == (409, "last_admin")
    assert everything.patch(f"/api/users/{tenant.someone(Role.ADMIN).user_id}/", {"role": "client"}).status == 200
    assert everything.patch(f"/api/users/{tenant.the(Role.SUPERADMIN).user_id}/", {"role": "client"}).status == 403


def test_a_role_that_is_raised_while_it_is_assigned_is_not_assigned_by_a_lower_manager(
    api, tenant, role, holder, stack, database
):
    made, manager = role("students:read", scope="own"), holder(role(*MANAGER, scope="groups"))
    victim = holder(role("students:read", scope="own"))
    waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"

    with stack.primary.connect(database) as raising, ThreadPoolExecutor(1) as pool:
        raising.execute("BEGIN")
        raising.execute("UPDATE roles SET scope = 'all' WHERE id = %s", [UUID(made)])
        assignment = pool.submit(manager.patch, f"/api/users/{victim.user_id}/", {"role_id": made})
        until = time.monotonic() + 20
        while time.monotonic() < until and not assignment.done():
            with stack.primary.connect(database) as looking:
                if looking.execute(waits).fetchone()[0]:
                    break
        raising.execute("COMMIT")

    assert outcome(assignment.result()) == (403, "role_not_yours")
