"""Members: created, given other roles, disabled and invited; an organization always has an administrator."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from campshub.accounts.models import Invitation
from campshub.accounts.service import invitations
from campshub.core.db.models import new_id
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.jobs import runner
from campshub.core.security.permissions import Role
from tests.conftest import PASSWORD, Client
from tests.emails import emails_in, token_in

AT_ONCE = 50
NEW = "wrong donkey charger"


def body(**fields):
    return {"email": f"{new_id().hex}@example.org", "name": "Asha Rao", "role": "trainer", "password": NEW, **fields}


def sign_in(anonymous, address, password=PASSWORD):
    return anonymous.post("/api/auth/token/", {"email": address, "password": password})


def bearer(tokens):
    return {"Authorization": f"Bearer {tokens['access_token']}"}


# Users ---------------------------------------------------------------------------------------------------------------


def test_a_created_user_can_sign_in(api, anonymous, tenant, sql):
    fields = body()

    made = api.post("/api/users/", fields)

    assert made.status == 201
    assert {name: made.json[name] for name in ("email", "name", "role", "status")} == {
        "email": fields["email"], "name": "Asha Rao", "role": "trainer", "status": "active",
    }  # fmt: skip
    assert sign_in(anonymous, fields["email"], NEW).json["organization_id"] == str(tenant.id)
    audited = sql("SELECT entity, after::text FROM audit_log WHERE organization_id = %s AND action = 'created'"
                  " AND entity IN ('users', 'memberships') ORDER BY entity", tenant.id)  # fmt: skip
    assert fields["email"] not in str(audited)
    assert {entity for entity, _ in audited} == {"users", "memberships"}


@pytest.mark.parametrize(
    ("fields", "status", "what"),
    [({"password": "password1234"}, 422, "/password"), ({"password": "short"}, 422, "/password"),
     ({"role": "superadmin"}, 403, "role_not_yours"), ({"role": "king"}, 422, "/role")],
)  # fmt: skip
def test_a_user_is_not_created_with_a_bad_password_or_a_higher_role(api, fields, status, what):
    response = api.post("/api/users/", body(**fields))

    assert response.status == status
    assert what in response.pointers | {response.problem["code"]}


def test_a_user_of_another_organization_must_be_invited(api, other):
    theirs = other.the(Role.TRAINER).get("/api/me/").json["email"]

    response = api.post("/api/users/", body(email=theirs.upper()))

    assert (response.status, response.problem["code"]) == (409, "email_taken")


def test_concurrent_requests_for_one_address_create_one_user(app, api):
    fields = body()

    with ThreadPoolExecutor(10) as pool:
        made = list(pool.map(lambda _: Client(app, api.headers).post("/api/users/", fields).status, range(10)))

    assert sorted(made) == [201] + [409] * 9


def test_a_new_role_and_a_disabled_user_take_effect_at_the_next_request(api, anonymous, tenant):
    trainer = tenant.the(Role.TRAINER)
    address = f"/api/users/{trainer.user_id}/"
    email_ = trainer.get("/api/me/").json["email"]
    tokens = sign_in(anonymous, email_).json
    signed_in = Client(anonymous.app, bearer(tokens))
    assert signed_in.get("/api/users/").status == 200

    assert api.patch(address, {"role": "client"}).json["role"] == "client"
    assert signed_in.get("/api/users/").status == 403

    assert api.patch(address, {"status": "disabled"}).json["status"] == "disabled"
    assert signed_in.get("/api/me/").status == 401
    assert anonymous.post("/api/auth/refresh/", {"refresh_token": tokens["refresh_token"]}).status == 401
    assert sign_in(anonymous, email_).status == 403

    assert api.patch(address, {"status": "active"}).status == 200
    assert signed_in.get("/api/me/").status == 401  # ended sessions are not restored
    assert sign_in(anonymous, email_).status == 200


def test_a_change_needs_the_current_version(api, tenant):
    address = f"/api/users/{tenant.the(Role.TRAINER).user_id}/"
    tag = api.get(address).headers["ETag"]

    assert api.patch(address, {"role": "client"}, headers={"If-Match": tag}).status == 200
    assert api.patch(address, {"role": "trainer"}, headers={"If-Match": tag}).status == 412


def test_the_last_admin_cannot_leave(api, tenant, sql):
    mine = f"/api/users/{api.user_id}/"
    for change in ({"role": "trainer"}, {"status": "disabled"}):
        response = api.patch(mine, change)
        assert (response.status, response.problem["code"]) == (409, "last_admin")
    second = tenant.someone(Role.ADMIN)
    sql("UPDATE users SET status = 'disabled' WHERE id = %s RETURNING 1", second.user_id)
    assert api.patch(mine, {"role": "trainer"}).status == 409
    sql("UPDATE users SET status = 'active' WHERE id = %s RETURNING 1", second.user_id)

    assert api.patch(mine, {"role": "trainer"}).status == 200
    assert second.patch(f"/api/users/{second.user_id}/", {"status": "disabled"}).status == 409


def test_admins_who_remove_each_other_at_once_leave_one(app, tenant, sql):
    admins = [tenant.someone(Role.ADMIN) for _ in range(8)]

    def remove(number):
        target = admins[(number + 1) % len(admins)].user_id
        return admins[number].patch(f"/api/users/{target}/", {"role": "client"}).status

    with ThreadPoolExecutor(len(admins)) as pool:
        statuses = list(pool.map(remove, range(len(admins))))

    (left,) = sql("SELECT count(*) FROM memberships WHERE organization_id = %s AND role = 'admin'", tenant.id)[0]
    assert left == len(admins) - statuses.count(200) >= 1
    assert set(statuses) <= {200, 401, 403, 409, 503}


def test_only_superadmins_create_and_change_superadmins(api, tenant):
    superadmin, trainer = tenant.the(Role.SUPERADMIN), tenant.the(Role.TRAINER)

    for address, change in (
        (f"/api/users/{trainer.user_id}/", {"role": "superadmin"}),
        (f"/api/users/{superadmin.user_id}/", {"status": "disabled"}),
        (f"/api/users/{superadmin.user_id}/", {"role": "admin"}),
    ):
        assert api.patch(address, change).problem["code"] == "role_not_yours"
    assert superadmin.patch(f"/api/users/{trainer.user_id}/", {"role": "superadmin"}).status == 200


# Invitations ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def invite(app, api, tenant, sql):
    """Return a function that invites someone and returns the invitation and its token."""

    def inviting(**fields):
        made = api.made("/api/invitations/", {"email": f"{new_id().hex}@example.org", "role": "trainer", **fields})
        from uuid import UUID  # noqa: PLC0415

        ((number,),) = sql("SELECT letters FROM invitations WHERE id = %s", made["id"])
        return made, invitations.token_of(app.extensions["campshub"], tenant.id, UUID(made["id"]), email_number=number)

    return inviting


def accept(anonymous, token, **fields):
    return anonymous.post("/api/invitations/accept/", {"token": token, "name": "Asha Rao", "password": NEW, **fields})


def test_an_invitation_is_sent_and_accepted_by_someone_new(app, api, anonymous, tenant, settings):
    made = api.made("/api/invitations/", {"email": f"{new_id().hex}@example.org", "role": "trainer"})
    assert made["status"] == "open"
    with app.app_context():
        runner.run_due(app.extensions["campshub"])
    (message,) = emails_in(settings.mail_folder, to=made["email"])

    accepted = accept(anonymous, token_in(message))

    assert (accepted.status, accepted.json["role"]) == (200, "trainer")
    tokens = sign_in(anonymous, made["email"], NEW).json
    assert tokens["organization_id"] == str(tenant.id)
    me = Client(app, bearer(tokens)).get("/api/me/").json
    assert (me["id"], me["name"], me["role"]) == (accepted.json["user_id"], "Asha Rao", "trainer")
    assert {i["status"] for i in api.get("/api/invitations/").json["items"]} == {"accepted"}


def test_fifty_concurrent_requests_accept_once(app, invite, sql, tenant):
    made, token = invite()

    with ThreadPoolExecutor(AT_ONCE) as pool:
        statuses = list(pool.map(lambda _: accept(Client(app), token).status, range(AT_ONCE)))

    # 503: it waited too long and may be retried; it changed nothing.
    assert (statuses.count(200), set(statuses) - {503}) == (1, {200, 410})
    assert sql("SELECT count(*) FROM users WHERE email = %s", made["email"]) == [(1,)]


def test_an_existing_user_keeps_name_and_password(anonymous, invite, other):
    known = other.the(Role.TRAINER)
    address = known.get("/api/me/").json["email"]
    _, token = invite(email=address, role="admin")

    accepted = accept(anonymous, token)

    assert (accepted.status, accepted.json["user_id"]) == (200, str(known.user_id))
    assert (sign_in(anonymous, address, NEW).status, sign_in(anonymous, address).status) == (401, 200)
    roles = {o["role"] for o in sign_in(anonymous, address).json["organizations"]}
    assert roles == {"trainer", "admin"}


def test_an_invitation_changes_no_members_role_and_enables_no_disabled_member(api, anonymous, invite, tenant):
    trainer = tenant.the(Role.TRAINER)
    address = trainer.get("/api/me/").json["email"]
    _, before = invite(email=address, role="admin")

    assert accept(anonymous, before).problem["code"] == "already_member"
    assert api.patch(f"/api/users/{trainer.user_id}/", {"status": "disabled"}).status == 200
    assert accept(anonymous, before).problem["code"] == "token_spent"
    _, after = invite(email=address.upper(), role="admin")
    assert accept(anonymous, after).problem["code"] == "member_disabled"
    assert api.get(f"/api/users/{trainer.user_id}/").json["status"] == "disabled"


def test_a_change_without_effect_revokes_no_invitation(api, anonymous, invite, tenant):
    trainer = tenant.the(Role.TRAINER)
    made, _ = invite(email=trainer.get("/api/me/").json["email"], role="admin")

    assert api.patch(f"/api/users/{trainer.user_id}/", {}).status == 200

    listed = {one["id"]: one["status"] for one in api.get("/api/invitations/?limit=200").json["items"]}
    assert listed[made["id"]] == "open"


def test_an_invitation_ends_with_a_role_change_of_the_member_and_with_its_author(api, anonymous, invite, tenant):
    admin, trainer = tenant.someone(Role.ADMIN), tenant.the(Role.TRAINER)
    _, spare = invite(email=trainer.get("/api/me/").json["email"], role="admin")
    made = admin.made("/api/invitations/", {"email": f"{new_id().hex}@example.org", "role": "admin"})
    assert api.patch(f"/api/users/{trainer.user_id}/", {"role": "client"}).status == 200
    assert api.patch(f"/api/users/{admin.user_id}/", {"status": "disabled"}).status == 200

    assert accept(anonymous, spare).problem["code"] == "token_spent"
    listed = {one["id"]: one["status"] for one in api.get("/api/invitations/?limit=200").json["items"]}
    assert listed[made["id"]] == "revoked"


def test_a_new_user_needs_a_name_and_a_good_password_and_may_retry(anonymous, invite):
    _, token = invite()

    assert accept(anonymous, token, name=None).status == 422
    for fields, pointer in (({"password": "password1234"}, "/password"), ({"password": "x"}, "/password")):
        assert accept(anonymous, token, **fields).pointers == {pointer}
    for lacking in ("name", "password"):
        fields = {"token": token, "name": "Asha Rao", "password": NEW}
        del fields[lacking]
        assert anonymous.post("/api/invitations/accept/", fields).pointers == {f"/{lacking}"}
    assert accept(anonymous, token).status == 200


@pytest.mark.parametrize("how", ["revoked", "old", "forged", "another kind"])
def test_an_invalid_invitation_is_gone(app, api, anonymous, invite, tenant, how):
    made, token = invite()
    opaque = app.extensions["campshub"].tokens.opaque
    if how == "revoked":
        assert api.delete(f"/api/invitations/{made['id']}/").status == 204
        assert api.delete(f"/api/invitations/{made['id']}/").status == 404
    elif how == "old":
        with app.app_context(), unit_of_work(system=True, organization_id=tenant.id) as session:
            for invitation in session.query(Invitation).filter_by(organization_id=tenant.id):
                invitation.expires_at -= timedelta(days=7)
    else:
        token = opaque.write("chi" if how == "forged" else "chp", tenant.id, new_id())

    response = accept(anonymous, token)

    assert (response.status, response.problem["code"]) == (410, "token_spent")


def test_only_superadmins_invite_superadmins(api, tenant):
    fields = {"email": "new@example.org", "role": "superadmin"}

    assert api.post("/api/invitations/", fields).problem["code"] == "role_not_yours"
    assert tenant.the(Role.SUPERADMIN).post("/api/invitations/", fields).status == 201
