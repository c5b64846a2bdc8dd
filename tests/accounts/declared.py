"""What the tests of all modules need from accounts."""

from uuid import UUID

import pyotp

from campshub.accounts.service import invitations, passwords
from campshub.core.db.models import new_id
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.security.permissions import Role
from tests.conftest import PASSWORD, new_tenant
from tests.declared import Declared, Examples, Large
from tests.issuer import the_issuer

NEW_PASSWORD = "wrong donkey charger"
OF_DATES = "read by date, the newest first; another index would cost each write more than it saves the few reads"
ALLOWED = {"permissions": ["students:read"], "scope": "all"}


def seed(seeds):
    admin, word = seeds.tenant.the(Role.ADMIN), seeds.word
    seeds.ids["sign_in_id"] = new_sign_in(seeds, Role.ADMIN)
    seeds.others.add(new_sign_in(seeds, Role.ADMIN))
    seeds.ids["identity_id"] = new_identity(seeds, Role.ADMIN)
    seeds.others.add(new_identity(seeds, Role.ADMIN))
    invited = [{"email": f"{number}-{word}@example.org", "role": "trainer"} for number in range(2)]
    seeds.create_two("invitation_id", "/api/invitations/", *invited)
    moved = str(seeds.tenant.someone(Role.CLIENT).user_id)
    seeds.others.add(moved)
    for role in (Role.TRAINER, Role.CLIENT):  # each of them is a security event
        assert admin.patch(f"/api/users/{moved}/", {"role": role}).status == 200
    seeds.create_two("role_id", "/api/roles/", *({"name": f"Role {number} {word}", **ALLOWED} for number in range(2)))
    signed_in = seeds.signed_in(admin)
    keys = [{"name": f"Key {number} {word}", "expires_in_days": 30, **ALLOWED} for number in range(2)]
    first, second = (signed_in.made("/api/api-keys/", key) for key in keys)
    seeds.ids["api_key_id"], seeds.key = first["id"], first["key"]
    seeds.others.add(second["id"])


def new_sign_in(seeds, role):
    """Return the id of a new sign-in session of the user of a role."""
    client = seeds.signed_in(seeds.tenant.the(role))
    return next(s["id"] for s in client.get("/api/auth/sessions/?limit=200").json["items"] if s["is_current"])


def new_identity(seeds, role):
    """Return the id of a new identity of the user of a role."""
    client = seeds.signed_in(seeds.tenant.the(role))
    present = [one["id"] for one in client.get("/api/auth/oidc/identities/").json["items"]]
    for identity_id in present[10:]:  # a user may have only a few
        assert client.delete(f"/api/auth/oidc/identities/{identity_id}/").status == 204
    return client.made("/api/auth/oidc/identities/", {"id_token": the_issuer().token()})["id"]


def new_id_token(seeds):
    """Return an ID token of a user who has never signed in."""
    email = seeds.tenant.someone(Role.CLIENT).get("/api/me/").json["email"]
    return the_issuer().token(email=email, email_verified=True)


def reset_token(seeds):
    """Return a token with which a user sets a new password."""
    email, app = seeds.tenant.someone(Role.CLIENT).get("/api/me/").json["email"], seeds.tenant.app
    with app.app_context(), unit_of_work(system=True) as session:
        found = passwords.prepare_reset(
            session, app.extensions["campshub"], email=email, reset_id=new_id(), now=session.unit.now
        )
    return found[1]


def invitation_token(seeds):
    """Return a token with which a new user accepts an invitation."""
    body = {"email": f"{new_id().hex}@example.org", "role": "trainer"}
    made, app = seeds.tenant.the(Role.ADMIN).made("/api/invitations/", body), seeds.tenant.app
    return invitations.token_of(app.extensions["campshub"], seeds.tenant.id, UUID(made["id"]))


def first_code(who):
    """Start the setup of one-time codes for a user; return the first code."""
    return pyotp.TOTP(who.made("/api/auth/mfa/totp/", None)["secret"]).now()


def enrol(who):
    """Enrol a user in a second factor."""
    who.made("/api/auth/mfa/totp/confirm/", {"otp": first_code(who)})


def conflicts(_seeds):
    yield "/api/roles/", {"name": "C", **ALLOWED}, {}, "role_name_taken", ("name", "C-0")
    new = {"email": f"{new_id().hex}@example.org", "name": "A", "password": "correct horse battery", "role": "client"}
    yield "/api/users/", new, {}, "email_taken", None  # the address cannot be changed


def rows(connection, made):
    """Create fifty of the organization's roles and keys, unless they exist."""
    values = {"organization_id": made.organization_id, "trainer_id": made.trainer_id}
    connection.execute(
        """
        INSERT INTO roles (organization_id, id, name, name_key, permissions, scope)
        SELECT %(organization_id)s, uuidv7(), 'Role ' || n, 'role ' || n, '{students:read}', 'all'
          FROM generate_series(1, 50) n ON CONFLICT DO NOTHING
        """,
        values,
    )
    connection.execute(
        """
        WITH keys AS (
          INSERT INTO api_keys (organization_id, id, user_id, kind, name, prefix, secret_hash, permissions, scope,
                                expires_at)
          SELECT %(organization_id)s, uuidv7(), %(trainer_id)s, 'key', 'Key ' || n, 'prefix' || n, '',
                 '{students:read}', 'all', now() + INTERVAL '1 year'
            FROM generate_series(1, 50) n
           WHERE NOT EXISTS (SELECT FROM api_keys WHERE organization_id = %(organization_id)s) RETURNING id)
        INSERT INTO api_key_uses (organization_id, api_key_id, address)
        SELECT %(organization_id)s, id, '192.0.2.' || n FROM keys, generate_series(1, 5) n
        """,
        values,
    )
    found = connection.execute(
        """
        SELECT (SELECT id FROM roles WHERE organization_id = %(organization_id)s LIMIT 1),
               (SELECT id FROM api_keys WHERE organization_id = %(organization_id)s LIMIT 1)
        """,
        values,
    ).fetchone()
    return {"role_id": str(found[0]), "api_key_id": str(found[1]), "user_id": str(made.trainer_id)}


OF_A_NEW_USER = (
    *("signOut", "signOutEverywhere", "changePassword", "stepUp"),
    *("startTotp", "confirmTotp", "replaceRecoveryCodes", "deleteMfa"),
)
AFTER_STEP_UP = ("linkIdentity", "deleteIdentity", "createApiKey", "deleteApiKey", "deleteSession")
EXAMPLES = Examples(
    first=("createUser", "createRole", "createInvitation", "linkIdentity", "createApiKey", "createOrganization"),
    created={
        "createUser": ("user_id", lambda response: response["id"]),
        "createInvitation": ("invitation_id", lambda response: response["id"]),
        "createApiKey": ("api_key_id", lambda response: response["id"]),
        "linkIdentity": ("identity_id", lambda response: response["id"]),
        "createOrganization": ("organization_id", lambda response: response["id"]),
    },
    callers={
        # Each in a new session: of a new user, since the operation ends sessions or changes sign-in, or of the admin.
        **dict.fromkeys(OF_A_NEW_USER, lambda day: day.seeds.signed_in(day.seeds.tenant.someone(Role.ADMIN))),
        **dict.fromkeys(AFTER_STEP_UP, lambda day: day.seeds.signed_in(day.seeds.tenant.the(Role.ADMIN))),
        "createOrganization": lambda day: day.seeds.tenant.the(Role.SUPERADMIN),
        "updateOrganization": lambda day: day.seeds.tenant.the(Role.SUPERADMIN),
        "closeOrganization": lambda day: day.seeds.signed_in(new_tenant(day.app).someone(Role.ADMIN)),
    },
    values={
        "signIn": lambda day, _: {"email": day.seeds.email, "password": PASSWORD},
        "signInWithIdToken": lambda day, _: {"id_token": new_id_token(day.seeds)},
        "linkIdentity": lambda *_: {"id_token": the_issuer().token()},
        "refreshToken": lambda day, _: {"refresh_token": day.seeds.tokens()["refresh_token"]},
        "switchOrganization": lambda day, _: {"organization_id": str(day.seeds.tenant.id)},
        "confirmTotp": lambda _, who: {"otp": first_code(who)},
        "replaceRecoveryCodes": lambda _, who: enrol(who) or {},
        "resetPassword": lambda day, _: {"token": reset_token(day.seeds)},
        "acceptInvitation": lambda day, _: {"token": invitation_token(day.seeds)},
    },
    before={"deleteSession": lambda day: day.ids.update(sign_in_id=new_sign_in(day.seeds, Role.ADMIN))},
)

DECLARED = Declared(
    seed=seed,
    budgets={
        "GET /api/api-keys/": 1,
        "GET /api/api-keys/<uuid:api_key_id>/": 1,
        "GET /api/audit/": 2,  # the person keys
        "GET /api/auth/mfa/": 1,
        "GET /api/auth/oidc/identities/": 1,
        "GET /api/auth/sessions/": 1,
        "GET /api/invitations/": 1,
        "GET /api/me/": 2,  # the user's other organizations are read outside the tenant
        "GET /api/organization/": 1,
        "GET /api/security-events/": 1,
        "GET /api/roles/": 1,
        "GET /api/roles/<uuid:role_id>/": 1,
        "GET /api/users/": 1,
        "GET /api/users/<uuid:user_id>/": 1,
        "PATCH /api/roles/<uuid:role_id>/": 3,
        "PATCH /api/users/<uuid:user_id>/": 6,  # the event, too; open invitations; and the user is read again
        "PATCH /api/me/": 7,  # the change is recorded in each of their organizations; the person key is created
        "PATCH /api/organization/": 3,
        "PATCH /api/organizations/<uuid:organization_id>/": 5,  # its tenant; and the event
        "POST /api/api-keys/": 4,  # the session, whose password must have been entered recently; and the event
        "POST /api/auth/logout/": 3,
        "POST /api/auth/logout/everywhere/": 5,
        "POST /api/auth/refresh/": 6,  # organization and plan, session, user, second factor, next token
        "POST /api/auth/switch/": 6,
        "POST /api/auth/token/": 7,  # the attempt, its end, the memberships, tenant and plan, second factor, session
        "POST /api/auth/oidc/": 9,  # user, memberships, tenant, plan, second factor, nonce, link; session, event
        "POST /api/auth/oidc/identities/": 5,
        "POST /api/auth/mfa/recovery-codes/": 3,
        "POST /api/auth/mfa/totp/": 3,
        "POST /api/auth/mfa/totp/confirm/": 6,
        "POST /api/auth/step-up/": 6,
        "POST /api/auth/password/": 12,  # the second factor, too; and the attempt is released
        "POST /api/auth/password/forgot/": 2,  # the platform as tenant, and the job
        "POST /api/auth/password/reset/": 7,
        "POST /api/invitations/": 4,  # the email address is locked, and its earlier invitation read
        "POST /api/invitations/<uuid:invitation_id>/resend/": 3,
        "POST /api/invitations/accept/": 10,  # as for a new user, and twice the invitation
        "POST /api/roles/": 3,  # and the number of roles
        "POST /api/users/": 5,  # the password rule, the user, the membership; audit; and the user is read again
        "POST /api/organization/close/": 5,  # the session; and the event
        "POST /api/organizations/": 7,  # the organization, its first user, their membership and password
        "DELETE /api/api-keys/<uuid:api_key_id>/": 5,  # as for their creation
        "DELETE /api/auth/mfa/": 4,
        "DELETE /api/auth/oidc/identities/<uuid:identity_id>/": 4,
        "DELETE /api/auth/sessions/<uuid:sign_in_id>/": 3,
        "DELETE /api/invitations/<uuid:invitation_id>/": 3,
        # The members and invitations that have the role; and whether it requires a second factor.
        "DELETE /api/roles/<uuid:role_id>/": 6,
    },
    creates={
        "POST /api/api-keys/": 9,  # see its budget; and the connection is released for the step-up
        "POST /api/auth/oidc/identities/": 8,  # the connection is released while the issuer's keys are fetched
        "POST /api/invitations/": 7,  # see its budget
        "POST /api/users/": 8,  # the connection is released while the password is hashed
    },
    bodies={
        "PATCH /api/organization/": {"name": "Lake Camp"},
        "PATCH /api/organizations/<uuid:organization_id>/": {"status": "suspended"},
        "PATCH /api/roles/<uuid:role_id>/": {"name": "Front desk"},
        "PATCH /api/users/<uuid:user_id>/": {"role": "trainer"},
    },
    real_bodies={
        "POST /api/auth/token/": lambda seeds, _: {"email": seeds.email, "password": PASSWORD},
        "POST /api/auth/oidc/": lambda seeds, _: {"id_token": new_id_token(seeds)},
        "POST /api/auth/oidc/identities/": lambda *_: {"id_token": the_issuer().token()},
        "POST /api/auth/refresh/": lambda seeds, _: {"refresh_token": seeds.tokens()["refresh_token"]},
        "POST /api/auth/mfa/totp/confirm/": lambda _, who: {"otp": first_code(who)},
        "POST /api/auth/mfa/recovery-codes/": lambda _, who: enrol(who),
        "POST /api/auth/step-up/": lambda *_: {"password": PASSWORD},
        "POST /api/auth/password/": lambda *_: {"present_password": PASSWORD, "new_password": NEW_PASSWORD},
        "POST /api/auth/password/reset/": lambda seeds, _: {"token": reset_token(seeds), "new_password": NEW_PASSWORD},
        "POST /api/invitations/accept/": lambda seeds, _: {
            "token": invitation_token(seeds),
            "name": "Asha",
            "password": NEW_PASSWORD,
        },
        "POST /api/auth/switch/": lambda seeds, _: {"organization_id": str(seeds.tenant.id)},
    },
    own={"sign_in_id": new_sign_in, "identity_id": new_identity},
    spending=("/close/", "/organizations/<uuid:organization_id>/"),
    values={
        "time_zone": "Asia/Kolkata",
        "currency": "INR",
        "admin_password": "correct horse battery",
        "password": "correct horse battery",
        "new_password": "correct horse battery",
        "mfa_roles": "trainer",
        "token": "not-a-known-token",
    },
    schemas={
        "UserIn": {"role": "client"},  # only superadmins create superadmins
        "InvitationIn": {"role": "client"},
        "MePatch": {"name": None},
        "ApiKeyIn": {"kind": "key", "permissions": ["students:read"], "scope": "all"},
    },
    instead={"role_id": "role"},
    texts=frozenset(
        {"password", "present_password", "new_password", "admin_password", "otp", "token", "refresh_token", "id_token"}
        | {"nonce", "issuer", "mfa_roles", "email", "admin_email", "currency", "time_zone"}
    ),
    lists={
        "/api/audit/": {
            "from": ("audit_log", "recorded_on", "id"),
            "to": ("audit_log", "recorded_on", "id"),
            "entity": OF_DATES,
            "entity_id": ("audit_log", "entity_id"),
            "person_id": ("audit_log", "person_id"),
            "user_id": OF_DATES,
            "action": OF_DATES,
            "sort date": ("audit_log", "recorded_on", "id"),
        },
        "/api/security-events/": {
            "kind": OF_DATES,
            "user_id": ("security_events", "user_id"),
            "sort created": ("security_events", "id"),
        },
        "/api/auth/sessions/": {"sort created": "the sessions of one user, found by the user: some dozen"},
        "/api/api-keys/": {"sort created": ("api_keys", "id")},
        "/api/invitations/": {"sort created": ("invitations", "id")},
        "/api/users/": {
            "role": ("memberships", "role"),
            "role_id": ("memberships", "role_id"),
            "external_id": ("memberships", "external_id"),
            "sort name": "users belong to many organizations, so their names stand in no tenant's index: the members of"
            " one are read whole and sorted",
            "sort created": "as by name",
        },
    },
    unstamped=frozenset({"credentials", "invitations", "key_uses", "sign_ins"}),
    conflicts=conflicts,
    public={
        "POST /api/auth/oidc/": frozenset({"login_address"}),
        "POST /api/auth/password/forgot/": frozenset({"login", "login_address"}),
        "POST /api/auth/password/reset/": frozenset({"login_address"}),
        "POST /api/auth/refresh/": frozenset({"refresh"}),
        "POST /api/auth/token/": frozenset({"login", "login_address"}),
        "POST /api/invitations/accept/": frozenset({"login_address"}),
    },
    ends_sessions=("/api/auth/logout/", "/api/auth/mfa/", "/api/auth/password/", "/api/auth/step-up/"),
    wants_step_up=("/api/api-keys/", "/api/auth/oidc/identities/", "/api/organization/close/"),
    only_once=frozenset({"POST /api/organization/close/"}),
    examples=EXAMPLES,
    large=Large(
        rows=rows,
        values=lambda _made, ids: {
            "action": ["changed"],
            "entity": ["students"],
            "entity_id": [ids["student_id"]],
            "kind": ["sign_in_failed"],
            "person_id": [ids["student_id"]],
            "role": ["trainer"],
            "role_id": [ids["role_id"]],
            "user_id": [ids["user_id"]],
        },
        sorted=(
            ("/api/api-keys/", "each key's few addresses, the one last used first"),
            ("/api/users/", "their names are in no tenant's table, so no tenant's index has them"),
        ),
    ),
)
