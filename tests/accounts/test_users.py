"""The fields of a user are the same in every organization that lists them."""

import time

from campshub.accounts.models import Membership
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.security.permissions import Role
from tests.conftest import new_tenant

PATIENCE_S = 15


def test_a_new_name_is_also_shown_where_the_membership_is_disabled(app):
    here, there = new_tenant(app), new_tenant(app)
    me, boss = here.the(Role.ADMIN), there.the(Role.ADMIN)
    with app.app_context(), unit_of_work(system=True, organization_id=there.id) as session:
        session.add(Membership(organization_id=there.id, user_id=me.user_id, role="trainer", status="disabled"))
    until = time.monotonic() + PATIENCE_S
    while boss.get("/api/users/").statements and time.monotonic() < until:  # until the list is cached
        time.sleep(0.1)

    assert me.patch("/api/me/", {"name": "New Name"}).status == 200
    names = {user["id"]: user["name"] for user in boss.get("/api/users/").json["items"]}
    assert names[str(me.user_id)] == "New Name"
