"""Two rows of every kind in an organization, for the tenancy matrix and the fuzzing, by the names of path parameters.

A new path parameter fails the matrix until it is seeded here.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import pyotp

from campshub.accounts.service import invitations, passwords
from campshub.core.db.models import new_id
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.jobs.models import Job
from campshub.core.jobs.runner import run_one
from campshub.core.security.permissions import Role
from tests.conftest import PASSWORD, Client, Tenant, new_tenant
from tests.dates import today
from tests.issuer import the_issuer

NEW_PASSWORD = "wrong donkey charger"
SPENDING = ("/undelete/", "/lock/", "/reopen/", "/submit/", "/close/", "/organizations/<uuid:organization_id>/")


@dataclass
class Seeds:
    """The created rows: ids by the names of path parameters and body fields, and the word that each text contains."""

    tenant: Tenant
    word: str
    ids: dict[str, str]
    others: set[str]
    # The secret key of ``api_key_id``.
    key: str = ""

    @property
    def email(self) -> str:
        """The email address of the organization's admin."""
        found: str = self.tenant.the(Role.ADMIN).get("/api/me/").json["email"]
        return found

    @property
    def everything(self) -> set[str]:
        """All ids of the organization."""
        return {*self.ids.values(), *self.others, str(self.tenant.id)}

    def tokens(self, who: Client | None = None) -> dict[str, Any]:
        """Return the tokens of a new sign-in session of a user, by default of the admin."""
        email = (who or self.tenant.the(Role.ADMIN)).get("/api/me/").json["email"]
        return Client(self.tenant.app).made("/api/auth/token/", {"email": email, "password": PASSWORD})

    def signed_in(self, who: Client) -> Client:
        """Return a client of a new sign-in session of a user."""
        return Client(self.tenant.app, {"Authorization": f"Bearer {self.tokens(who)['access_token']}"}, who.user_id)

    def new_sign_in(self, role: Role) -> str:
        """Return the id of a new sign-in session of the user of a role."""
        client = self.signed_in(self.tenant.the(role))
        found: str = next(s["id"] for s in client.get("/api/auth/sessions/?limit=200").json["items"] if s["is_current"])
        return found

    def new_identity(self, role: Role) -> str:
        """Return the id of a new identity of the user of a role."""
        client = self.signed_in(self.tenant.the(role))
        present = [one["id"] for one in client.get("/api/auth/oidc/identities/").json["items"]]
        for identity_id in present[10:]:  # a user may have only a few
            assert client.delete(f"/api/auth/oidc/identities/{identity_id}/").status == 204
        found: str = client.made("/api/auth/oidc/identities/", {"id_token": the_issuer().token()})["id"]
        return found

    def new_email(self) -> str:
        """Return the email address of a user who has never signed in."""
        found: str = self.tenant.someone(Role.CLIENT).get("/api/me/").json["email"]
        return found

    def reset_token(self) -> str:
        """Return a token with which a user sets a new password."""
        email, app = self.tenant.someone(Role.CLIENT).get("/api/me/").json["email"], self.tenant.app
        with app.app_context(), unit_of_work(system=True) as session:
            found = passwords.prepare_reset(
                session, app.extensions["campshub"], email=email, reset_id=new_id(), now=session.unit.now
            )
        assert found is not None
        return found[1]

    def invitation_token(self) -> str:
        """Return a token with which a new user accepts an invitation."""
        body = {"email": f"{new_id().hex}@example.org", "role": "trainer"}
        made, app = self.tenant.the(Role.ADMIN).made("/api/invitations/", body), self.tenant.app
        return invitations.token_of(app.extensions["campshub"], self.tenant.id, UUID(made["id"]))

    def first_code(self, who: Client) -> str:
        """Start the setup of one-time codes for a user; return the first code."""
        return pyotp.TOTP(who.made("/api/auth/mfa/totp/", None)["secret"]).now()

    def enrolled(self, who: Client) -> None:
        """Enrol a user in a second factor."""
        who.made("/api/auth/mfa/totp/confirm/", {"otp": self.first_code(who)})

    def report_token(self, report_id: str) -> str:
        """Make a report; return the token of a link to its file."""
        admin = self.tenant.the(Role.ADMIN)
        report = admin.get(f"/api/reports/{report_id}/").json
        if report["state"] == "queued":
            with self.tenant.app.app_context():
                run_one(self.tenant.app.extensions["campshub"], self.tenant.id, UUID(report["job_id"]))
            report = admin.get(f"/api/reports/{report_id}/").json
        found: str = report["download"]["url"].partition("token=")[2]
        return found

    def real_body(self, rule: str, who: Client) -> dict[str, Any] | None:
        """Return the body that an operation accepts where a generated one fails; None if it needs none."""
        made = {
            "/api/auth/token/": lambda: {"email": self.email, "password": PASSWORD},
            "/api/auth/oidc/": lambda: {"id_token": the_issuer().token(email=self.new_email(), email_verified=True)},
            "/api/auth/oidc/identities/": lambda: {"id_token": the_issuer().token()},
            "/api/auth/refresh/": lambda: {"refresh_token": self.tokens()["refresh_token"]},
            "/api/auth/mfa/totp/confirm/": lambda: {"otp": self.first_code(who)},
            "/api/auth/mfa/recovery-codes/": lambda: self.enrolled(who),
            "/api/auth/step-up/": lambda: {"password": PASSWORD},
            "/api/auth/password/": lambda: {"present_password": PASSWORD, "new_password": NEW_PASSWORD},
            "/api/auth/password/reset/": lambda: {"token": self.reset_token(), "new_password": NEW_PASSWORD},
            "/api/invitations/accept/": lambda: {
                "token": self.invitation_token(),
                "name": "Asha",
                "password": NEW_PASSWORD,
            },
            "/api/auth/switch/": lambda: {"organization_id": str(self.tenant.id)},
        }.get(rule)
        return made() if made else None

    def id_for(self, name: str) -> str | None:
        """Return the id for a parameter or field of this name; for a login, a student who has none yet."""
        if name == "user_id":
            login = str(self.tenant.someone(Role.CLIENT).user_id)
            self.others.add(login)
            return login
        if name == "organization_id":
            return str(self.tenant.id)
        return self.ids.get(
            {"trainer_ids": "trainer_id", "marked_by": "user_id", "recipient_ids": "trainer_id"}.get(name, name)
        )


def spends(operation: Any) -> bool:
    """Return whether an operation uses up rows that other tests need."""
    return operation.method == "DELETE" or operation.rule.endswith(SPENDING)


def seed(app: Any, word: str) -> Seeds:
    """Fill an organization; each module of the application adds its rows."""
    seeds = Seeds(new_tenant(app), word, {}, set())
    rules = {rule.rule for rule in app.url_map.iter_rules()}
    for role in Role:
        seeds.others.add(str(seeds.tenant.the(role).user_id))
    admin = seeds.tenant.the(Role.ADMIN)
    assert admin.patch("/api/organization/", {"name": f"Organization {word}"}).status == 200
    assert admin.patch("/api/me/", {"name": f"Admin {word}"}).status == 200
    seeds.ids |= {
        "organization_id": str(seeds.tenant.id),
        "user_id": str(seeds.tenant.the(Role.CLIENT).user_id),
        "trainer_id": str(seeds.tenant.the(Role.TRAINER).user_id),
    }
    _students(seeds)
    if "/api/attendance/sessions/" in rules:
        _attendance(seeds)
    if "/api/workout-logs/" in rules:
        _workouts(seeds)
    _sign_ins(seeds)
    _roles_and_keys(seeds)
    _jobs(seeds)
    _reports(seeds)
    return seeds


def _twice(seeds: Seeds, name: str, url: str, *bodies: dict[str, Any]) -> str:
    """Create both bodies; the parameter gets the id of the first."""
    made = [seeds.tenant.the(Role.ADMIN).made(url, body)["id"] for body in bodies]
    seeds.ids[name] = made[0]
    seeds.others.update(made[1:])
    return made[0]


def _sign_ins(seeds: Seeds) -> None:
    seeds.ids["sign_in_id"] = seeds.new_sign_in(Role.ADMIN)
    seeds.others.add(seeds.new_sign_in(Role.ADMIN))
    seeds.ids["identity_id"] = seeds.new_identity(Role.ADMIN)
    seeds.others.add(seeds.new_identity(Role.ADMIN))
    invited = [{"email": f"{number}-{seeds.word}@example.org", "role": "trainer"} for number in range(2)]
    _twice(seeds, "invitation_id", "/api/invitations/", *invited)
    moved = str(seeds.tenant.someone(Role.CLIENT).user_id)
    seeds.others.add(moved)
    for role in (Role.TRAINER, Role.CLIENT):  # each of them is a security event
        assert seeds.tenant.the(Role.ADMIN).patch(f"/api/users/{moved}/", {"role": role}).status == 200


def _roles_and_keys(seeds: Seeds) -> None:
    allowed = {"permissions": ["students:read"], "scope": "all"}
    roles = [{"name": f"Role {number} {seeds.word}", **allowed} for number in range(2)]
    _twice(seeds, "role_id", "/api/roles/", *roles)
    admin = seeds.signed_in(seeds.tenant.the(Role.ADMIN))
    keys = [{"name": f"Key {number} {seeds.word}", "expires_in_days": 30, **allowed} for number in range(2)]
    first, second = (admin.made("/api/api-keys/", key) for key in keys)
    seeds.ids["api_key_id"], seeds.key = first["id"], first["key"]
    seeds.others.add(second["id"])


def _jobs(seeds: Seeds) -> None:
    """Enqueue jobs that do not run."""
    tenant, first, second = seeds.tenant, new_id(), new_id()
    admin = tenant.the(Role.ADMIN).user_id
    with tenant.app.app_context(), unit_of_work(organization_id=tenant.id, user_id=admin) as session:
        made = {"user_id": admin, "job": f"tests.{seeds.word}", "result": {"word": seeds.word}}
        session.add_all(Job(id=id_, **made) for id_ in (first, second))
    seeds.ids["job_id"] = str(first)
    seeds.others.add(str(second))


def _reports(seeds: Seeds) -> None:
    """Request reports that are not rendered yet, and schedules that are due far in the future."""
    admin, word = seeds.tenant.the(Role.ADMIN), seeds.word
    request = {"kind": "roster", "format": "csv", "parameters": {"group_id": seeds.ids["group_id"]}}
    first, second = (admin.post("/api/reports/", request).json for _ in range(2))
    seeds.ids["report_id"] = first["id"]
    seeds.others |= {second["id"], first["job_id"], second["job_id"]}
    when = {"frequency": "monthly", "day": 31, "local_time": "07:30"}
    everyones = {"kind": "attendance_records", "format": "csv", "parameters": {"period": "last_week"}}
    sent = {**everyones, **when, "recipient_ids": [seeds.ids["trainer_id"]]}
    schedules = [{**sent, "name": f"Schedule {number} {word}"} for number in range(2)]
    _twice(seeds, "schedule_id", "/api/report-schedules/", *schedules)


def _students(seeds: Seeds) -> None:
    word, client = seeds.word, str(seeds.tenant.the(Role.CLIENT).user_id)
    person = {"given_name": f"Given {word}", "family_name": f"Family {word}", "medical_note": f"Note {word}"}
    first = _twice(
        seeds,
        "student_id",
        "/api/students/",
        {"code": f"1-{word}", "user_id": client, "email": f"{word}@example.org", "tags": [word], **person},
        {"code": f"2-{word}", "joined_on": "2026-01-05", **person},
    )
    second = next(iter(seeds.others - {str(c.user_id) for c in seeds.tenant.clients.values()}))
    trainers = {"trainer_ids": [seeds.ids["trainer_id"]]}
    group = _twice(
        seeds,
        "group_id",
        "/api/groups/",
        {"code": f"G1-{word}", "name": f"Group {word}", **trainers},
        {"code": f"G2-{word}", "name": f"Group two {word}"},
    )
    term = {"begins_on": str(today() - timedelta(days=30))}
    url = f"/api/groups/{group}/enrolments/"
    _twice(seeds, "enrolment_id", url, {"student_id": first, **term}, {"student_id": second, **term})


def _attendance(seeds: Seeds) -> None:
    admin, word = seeds.tenant.the(Role.ADMIN), seeds.word
    _twice(
        seeds,
        "code_id",
        "/api/attendance/codes/",
        {"key": "trip", "label": f"Trip {word}", "counts_as": "present"},
        {"key": "ill", "label": f"Ill {word}", "counts_as": "excused"},
    )
    group = {"group_id": seeds.ids["group_id"], "local_date": str(today()), "notes": word, "status": "open"}
    session = _twice(
        seeds, "session_id", "/api/attendance/sessions/", {**group, "slot": "09:00"}, {**group, "slot": "10:00"}
    )
    records = f"/api/attendance/sessions/{session}/records/"
    marked = admin.put(records, {"records": [{"student_id": seeds.ids["student_id"], "code": "late", "note": word}]})
    marked_rest = admin.put(records, {"rest": "present"})
    assert (marked.status, marked_rest.status) == (200, 200)
    seeds.ids["record_id"] = marked.json["results"][0]["id"]
    seeds.others |= {row["id"] for row in marked_rest.json["results"] if row["id"]}
    # Aggregates of a second group (open gym) and of a second month.
    long_ago = str(today() - timedelta(days=35))
    for day in (str(today()), long_ago):
        beside = admin.made("/api/attendance/sessions/", {"local_date": day, "slot": "08:00", "notes": word})["id"]
        mark = {"student_id": seeds.ids["student_id"], "code": "present"}
        response = admin.put(f"/api/attendance/sessions/{beside}/records/", {"records": [mark]})
        seeds.others |= {beside, response.json["results"][0]["id"]}


def _workouts(seeds: Seeds) -> None:
    word = seeds.word
    exercise = _twice(
        seeds,
        "exercise_id",
        "/api/exercises/",
        {"name": f"Press {word}", "equipment": "barbell"},
        {"name": f"Row {word}", "equipment": "barbell"},
    )
    sets = [{"reps": 5, "load": "60", "load_unit": "kg"}, {"reps": 3}]
    log = {
        "student_id": seeds.ids["student_id"],
        "started_at": f"{today() - timedelta(days=1)}T06:00:00Z",
        "title": f"Log {word}",
        "exercises": [{"exercise_id": exercise, "note": word, "sets": sets}],
    }
    made = _twice(
        seeds, "log_id", "/api/workout-logs/", log, {**log, "started_at": f"{today() - timedelta(days=8)}T06:00:00Z"}
    )
    whole = seeds.tenant.the(Role.ADMIN).get(f"/api/workout-logs/{made}/").json
    seeds.ids["log_exercise_id"] = whole["exercises"][0]["id"]
    seeds.ids["set_id"], *rest = [made_set["id"] for made_set in whole["exercises"][0]["sets"]]
    seeds.others.update(rest)
