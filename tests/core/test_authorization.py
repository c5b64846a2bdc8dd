"""What callers share, and what they never share: responses, statements and permissions."""

from itertools import product

import pytest
from marshmallow import fields as ma

from campshub.app import create_app
from campshub.core.db.models import new_id
from campshub.core.db.prepared import prepared
from campshub.core.db.unit import CallerRow
from campshub.core.http.caller_state import caller_of, unpacked
from campshub.core.http.decorators import cached, needs
from campshub.core.http.routing import Blueprint, Resource
from campshub.core.http.schemas import fields
from campshub.core.security.authorization import granted
from campshub.core.security.permissions import GRANTS, ROLES, Grant, Permission, Role, Scope, grant_of
from campshub.core.security.principal import Principal, visible_to
from campshub.operations.cli.permissions import page
from campshub.students.models import Student
from tests.accounts.conftest import signed_in, with_key
from tests.conftest import NOW, ROOT, Client, close, settings_of

P = Permission
READS, WRITES = frozenset({P.STUDENTS_READ}), frozenset({P.STUDENTS_READ, P.STUDENTS_WRITE})


def caller_row(role="custom", *, permissions=None, scope=None, key=None, key_scope=None):
    given = {"permissions": permissions, "scope": scope, "key_permissions": key, "key_scope": key_scope}
    return CallerRow(role, 1, "UTC", "active", True, None, None, [], **given)


def test_a_key_has_only_permissions_that_its_creator_has_too():
    found = granted(caller_row("trainer", key=["students:read", "students:write"], key_scope="all"))
    assert found == Grant(READS, Scope.GROUPS)
    own = granted(caller_row(permissions=["students:read"], scope="own", key=["students:read"], key_scope="groups"))
    assert own == Grant(READS, Scope.OWN)
    assert granted(caller_row("admin")) == GRANTS["admin"]


def test_unknown_permissions_are_ignored():
    assert grant_of(["students:read", "dragons:ride"], "world") == Grant(READS, Scope.OWN)


@pytest.mark.parametrize(
    ("mine", "other", "covers"),
    [
        *(((WRITES, one), (READS, two), one in (two, Scope.ALL) or two is Scope.OWN)
          for one, two in product(Scope, Scope)),
        ((READS, Scope.ALL), (WRITES, Scope.OWN), False),
        ((READS, Scope.ALL), (READS | {P.ME_READ, P.ME_WRITE}, Scope.ALL), True),
        ((frozenset(), Scope.ALL), (READS, Scope.ALL), False),
    ],
)  # fmt: skip
def test_a_caller_can_grant_only_their_own_permissions(mine, other, covers):
    assert Grant(*mine).covers(Grant(*other)) is covers


def test_no_role_covers_a_higher_role():
    ranks = [Role.SUPERADMIN, Role.ADMIN, Role.TRAINER]
    for lower, higher in ((low, high) for number, high in enumerate(ranks) for low in ranks[number + 1 :]):
        assert GRANTS[higher].covers(GRANTS[lower])
        assert not GRANTS[lower].covers(GRANTS[higher])
    assert P.ORGANIZATIONS_WRITE not in ROLES[Role.ADMIN]


def seen(user="u", **given):
    return caller_of(b"k", user, caller_row(**given), NOW).seen


def test_callers_share_responses_only_with_the_same_permissions_and_full_visibility():
    reads = {"permissions": ["students:read", "groups:read"], "scope": "all"}
    same = seen("a", **reads)

    assert seen("b", permissions=["groups:read", "students:read"], scope="all") == same
    assert seen("k", role="admin", key=["groups:read", "students:read"], key_scope="all") == same
    others = [
        seen("a", role="admin"),
        seen("a", role="superadmin"),
        seen("a", role="nutritionist"),
        seen("a", permissions=["students:read"], scope="all"),
        seen("a", role="admin", key=["students:read", "users:read"], key_scope="all"),
        *(seen(user, **{**reads, "scope": scope}) for user in "ab" for scope in ("groups", "own")),
        *(seen(user, role="admin", key=["students:read"], key_scope="own") for user in "ab"),
        seen("a", role=None),
    ]
    assert len({same, *others}) == len(others) + 1


def test_a_callers_state_is_encoded_without_loss():
    state = caller_row(permissions=["students:read"], scope="own", key=["students:read"], key_scope="all")
    caller = caller_of(b"k", "u", state, NOW)

    assert unpacked(b"k", caller.packed()) == caller
    assert caller.state == state


def test_a_statement_does_not_depend_on_the_permissions_of_its_first_caller():
    @prepared
    def by_permission(principal):
        where = visible_to(principal, Student)
        return page_of(principal, where)

    def page_of(principal, where):
        from sqlalchemy import select  # noqa: PLC0415

        return select(Student.id).where(where) if principal.may(P.MEDICAL_READ) else select(Student.code).where(where)

    with pytest.raises(TypeError, match="pass what they decide"):
        by_permission(Principal(new_id(), new_id(), "admin", "UTC"))


# Cached responses ----------------------------------------------------------------------------------------------------


class AllowedOut(fields.Out):
    """The permissions of the first caller."""

    permissions = ma.List(fields.Text(), required=True)
    scope = fields.Text(required=True)


@pytest.fixture
def permission_app(stack, database):
    """An application with a cached, shared endpoint that returns the permissions of its caller."""
    blueprint = Blueprint("allowed", __name__, url_prefix="/api/allowed")

    class Allowed(Resource):
        @needs(P.STUDENTS_READ)
        @cached(tags=("students",), same_for_role=True)
        @blueprint.answers(AllowedOut)
        def get(self):
            return {"permissions": sorted(self.principal.permissions), "scope": self.principal.scope}

    blueprint.route("/")(Allowed)
    app = create_app(settings_of(stack, database))
    app.register_blueprint(blueprint)
    yield app
    close(app)


def test_a_cached_response_never_shows_the_permissions_of_another_caller(permission_app, trusted, api, tenant):
    wanted = []
    for permissions in (("students:read",), ("students:read", "groups:read"), ("students:read", "medical:read")):
        body = {"name": new_id().hex, "permissions": list(permissions), "scope": "all"}
        role = api.made("/api/roles/", body)["id"]
        for _ in range(2):
            client = tenant.someone(Role.CLIENT)
            assert api.patch(f"/api/users/{client.user_id}/", {"role_id": role}).status == 200
            wanted.append((client, {*permissions, "me:read", "me:write"}))
        made = signed_in(api).made("/api/api-keys/", {**body, "expires_in_days": 1})
        wanted.append((with_key(permission_app, made["key"]), set(permissions)))
    wanted += [(tenant.the(role), {*ROLES[role]}) for role in Role]

    for _ in range(3):
        for client, permissions in wanted:
            response = Client(permission_app, client.headers).get("/api/allowed/")
            assert set(response.json["permissions"]) == permissions
    body = {"permissions": ["students:read", "users:read"]}
    role = next(one["id"] for one in api.get("/api/roles/").json["items"] if one["id"] is not None)
    holders = {user["id"] for user in api.get(f"/api/users/?role_id={role}").json["items"]}
    assert api.patch(f"/api/roles/{role}/", body).status == 200
    for client, permissions in wanted:
        now = {*body["permissions"], "me:read", "me:write"} if str(client.user_id) in holders else permissions
        assert set(Client(permission_app, client.headers).get("/api/allowed/").json["permissions"]) == now


# The documentation page -----------------------------------------------------------------------------------------------


def test_the_page_on_permissions_is_up_to_date(app):
    written = (ROOT / "docs" / "permissions.md").read_text(encoding="utf-8")

    assert written == page(app), "make permissions"
    assert written.count("\n| GET `") > 30
