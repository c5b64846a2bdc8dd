"""The number of SQL statements of each operation, without the batch that sets the tenant and the one that commits.

The operations are read from the application: one without a budget fails. The response cache is off in these tests.
"""

import re
from collections.abc import Callable
from typing import Any

import pytest

from campshub.app import create_app
from campshub.core.security.permissions import Role
from tests.conftest import close
from tests.dates import today
from tests.large.plans import UNCACHED
from tests.seeds import Seeds, seed, spends
from tests.surface import BY_NAME, body_for, operations

TODAY = today().isoformat()
CODE, RECORD = "/api/attendance/codes/<uuid:code_id>/", "/api/attendance/records/<uuid:record_id>/"
MEETING, EXERCISE = "/api/attendance/sessions/<uuid:session_id>/", "/api/exercises/<uuid:exercise_id>/"
GROUP, STUDENT = "/api/groups/<uuid:group_id>/", "/api/students/<uuid:student_id>/"
REPORT, SCHEDULE = "/api/reports/<uuid:report_id>/", "/api/report-schedules/<uuid:schedule_id>/"
LOG = "/api/workout-logs/<uuid:log_id>/"
SET = f"{LOG}sets/<uuid:set_id>/"
# A read takes one statement, a create two (the row; audit, outbox and the stored response together) and a change three
# (read and lock the row, change it, audit). A comment gives the reason for any other number.
BUDGETS = {
    "GET /api/api-keys/": 1,
    "GET /api/api-keys/<uuid:api_key_id>/": 1,
    "GET /api/attendance/analytics/groups/": 1,
    "GET /api/attendance/analytics/students/<uuid:student_id>/": 1,
    "GET /api/attendance/codes/": 1,
    f"GET {CODE}": 1,
    "GET /api/attendance/records/": 1,
    f"GET {RECORD}": 1,
    "GET /api/attendance/sessions/": 1,
    f"GET {MEETING}": 1,
    f"GET {MEETING}records/": 2,  # the session's date gives the month to read
    "GET /api/audit/": 2,  # the person keys
    "GET /api/auth/mfa/": 1,
    "GET /api/auth/oidc/identities/": 1,
    "GET /api/auth/sessions/": 1,
    "GET /api/exercises/": 1,
    f"GET {EXERCISE}": 1,
    "GET /api/groups/": 1,
    f"GET {GROUP}": 1,
    f"GET {GROUP}enrolments/": 1,
    f"GET {GROUP}enrolments/<uuid:enrolment_id>/": 1,
    f"GET {GROUP}roster/": 1,
    f"GET {GROUP}sessions/": 1,
    "GET /api/invitations/": 1,
    "GET /api/jobs/": 1,
    "GET /api/jobs/<uuid:job_id>/": 1,
    "GET /api/me/": 2,  # the user's other organizations are read outside the tenant
    "GET /api/muscles/": 1,
    "GET /api/organization/": 1,
    "GET /api/progress/weeks/": 1,
    "GET /api/reports/": 1,
    f"GET {REPORT}": 1,
    f"GET {REPORT}file/": 2,  # who has the link, and the report
    "GET /api/report-schedules/": 1,
    f"GET {SCHEDULE}": 1,
    "GET /api/security-events/": 1,
    "GET /api/roles/": 1,
    "GET /api/roles/<uuid:role_id>/": 1,
    "GET /api/students/": 1,
    f"GET {STUDENT}": 1,
    f"GET {STUDENT}attendance/": 2,  # the totals of the marks, and the latest of them
    f"GET {STUDENT}medical-note/": 2,  # the read is recorded
    f"GET {STUDENT}workouts/": 1,
    "GET /api/students/statistics/": 2,  # students by status and month, enrolments by group
    "GET /api/users/": 1,
    "GET /api/users/<uuid:user_id>/": 1,
    "GET /api/workout-logs/": 1,
    f"GET {LOG}": 3,  # the log, its exercises, its sets
    f"GET {SET}": 1,
    f"GET {LOG}sets/": 1,
    f"PATCH {CODE}": 3,
    # Also the session, which must not be locked; the codes; the register's version; the person key.
    f"PATCH {RECORD}": 7,
    f"PATCH {MEETING}": 3,
    f"PATCH {EXERCISE}": 4,  # the exercise is read again, with its muscles
    f"PATCH {GROUP}": 4,  # the group is read again, with its trainers
    f"PATCH {GROUP}enrolments/<uuid:enrolment_id>/": 4,  # the group is locked too
    "PATCH /api/roles/<uuid:role_id>/": 3,
    "PATCH /api/users/<uuid:user_id>/": 6,  # the event, too; open invitations; and the user is read again
    "PATCH /api/me/": 7,  # the change is recorded in each of their organizations; the person key is created
    "PATCH /api/organization/": 3,
    "PATCH /api/organizations/<uuid:organization_id>/": 5,  # its tenant; and the event
    f"PATCH {SCHEDULE}": 3,
    f"PATCH {STUDENT}": 4,  # and the person key
    f"PATCH {LOG}": 7,  # the log is read again, with its exercises and sets; the person key
    f"PATCH {SET}": 3,
    "POST /api/api-keys/": 4,  # the session, whose password must have been entered recently; and the event
    "POST /api/attendance/codes/": 2,
    "POST /api/attendance/sessions/": 2,
    f"POST {MEETING}lock/": 3,
    f"POST {MEETING}reopen/": 3,
    f"POST {MEETING}submit/": 3,
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
    "POST /api/exercises/": 2,
    f"POST {EXERCISE}undelete/": 4,
    "POST /api/groups/": 3,  # the group is read, with its trainers
    f"POST {GROUP}enrolments/": 4,  # the group is locked, for its last free place; the student is looked up
    f"POST {GROUP}undelete/": 4,
    "POST /api/invitations/": 4,  # the email address is locked, and its earlier invitation read
    "POST /api/invitations/<uuid:invitation_id>/resend/": 3,
    "POST /api/invitations/accept/": 10,  # as for a new user, and twice the invitation
    "POST /api/reports/": 5,
    "POST /api/report-schedules/": 3,  # which recipients are members, and the number of schedules
    "POST /api/roles/": 3,  # and the number of roles
    "POST /api/users/": 5,  # the password rule, the user, the membership; audit; and the user is read again
    "POST /api/organization/close/": 5,  # the session; and the event
    "POST /api/organizations/": 7,  # the organization, its first user, their membership and password
    "POST /api/students/": 2,
    f"POST {STUDENT}undelete/": 3,
    "POST /api/students/bulk/": 3,  # for any number of rows
    "POST /api/workout-logs/": 3,  # the lookups; all rows together; audit
    f"POST {LOG}sets/": 3,  # as above
    f"POST {SET}undelete/": 3,
    f"POST {LOG}undelete/": 6,  # the log is read again, with its exercises and sets
    f"PUT {MEETING}records/": 3,  # the register, the marks, audit; and person keys where a mark has a note
    "DELETE /api/api-keys/<uuid:api_key_id>/": 5,  # as for their creation
    "DELETE /api/jobs/<uuid:job_id>/": 3,  # and its message
    "DELETE /api/auth/mfa/": 4,
    "DELETE /api/auth/oidc/identities/<uuid:identity_id>/": 4,
    "DELETE /api/auth/sessions/<uuid:sign_in_id>/": 3,
    "DELETE /api/invitations/<uuid:invitation_id>/": 3,
    # The members and invitations that have the role; and whether it requires a second factor.
    "DELETE /api/roles/<uuid:role_id>/": 6,
    f"DELETE {RECORD}": 6,  # as its change
    f"DELETE {EXERCISE}": 3,
    f"DELETE {GROUP}": 3,
    f"DELETE {REPORT}": 3,
    f"DELETE {SCHEDULE}": 4,  # and its reports refer to it no more
    f"DELETE {STUDENT}": 3,
    f"DELETE {LOG}": 3,
    f"DELETE {SET}": 3,
}
# Operations for which the smallest body changes nothing: these bodies do.
BODIES: dict[str, dict[str, Any]] = {
    f"PATCH {CODE}": {"label": "Excursion"},
    f"PATCH {RECORD}": {"code": "present", "note": "came by bus"},
    f"PATCH {MEETING}": {"notes": "indoors"},
    f"PATCH {EXERCISE}": {"name": "Floor press"},
    f"PATCH {GROUP}": {"name": "Early birds"},
    f"PATCH {GROUP}enrolments/<uuid:enrolment_id>/": {"ends_on": TODAY},
    "PATCH /api/organization/": {"name": "Lake Camp"},
    "PATCH /api/organizations/<uuid:organization_id>/": {"status": "suspended"},
    f"PATCH {SCHEDULE}": {"name": "Mondays"},
    f"PATCH {STUDENT}": {"preferred_name": "Ash"},
    "PATCH /api/roles/<uuid:role_id>/": {"name": "Front desk"},
    "PATCH /api/users/<uuid:user_id>/": {"role": "trainer"},
    f"PATCH {LOG}": {"title": "Push"},
    f"PATCH {SET}": {"reps": 7},
}
MOST_STATEMENTS_OF_A_CREATE = 5  # including the tenant's batch and the commit's


@pytest.fixture(scope="module")
def app(settings):
    app = create_app(settings.model_copy(update=UNCACHED))
    yield app
    close(app)


def prepared(seeds: Seeds, operation: Any) -> Callable[[], Any]:
    """Prepare data for an operation; return a call that succeeds and has something to do."""
    schema, mark = operation.endpoint.options.body, operation.endpoint.options
    role = Role.SUPERADMIN if mark.is_system else Role.ADMIN
    body = BODIES.get(operation.name) or (body_for(schema, seeds.id_for) if schema else None)
    if operation.name.startswith("PUT"):
        meeting = {"group_id": seeds.ids["group_id"], "local_date": TODAY, "slot": "11:00", "status": "open"}
        seeds.ids["session_id"] = seeds.tenant.the(Role.ADMIN).made("/api/attendance/sessions/", meeting)["id"]
        body = {"rest": "present"}
    client, url = seeds.tenant.the(role), operation.address(seeds.ids)
    if operation.rule.endswith("/file/"):
        url = url.replace(BY_NAME["token"], seeds.report_token(seeds.ids["report_id"]))
    if operation.ends_sessions:
        client = seeds.signed_in(seeds.tenant.someone(role))
    if operation.wants_step_up:
        client = seeds.signed_in(seeds.tenant.the(role))
    body = seeds.real_body(operation.rule, client) or body
    if operation.rule.endswith("/undelete/"):
        assert client.delete(url.removesuffix("undelete/")).status == 204
    if operation.rule.endswith("/reopen/"):
        assert client.post(url.replace("reopen", "submit")).status == 200
    return lambda: client.call(operation.method, url, body)


def run_operation(seeds: Seeds, operation: Any) -> Any:
    """Prepare and call an operation."""
    return prepared(seeds, operation)()


def test_every_operation_stays_within_its_statement_budget(app):
    shared, wrong, counts = seed(app, "Quokka"), [], {}
    for operation in sorted(operations(app), key=lambda o: (o.method != "GET", o.name)):
        seeds = seed(app, "Wombat") if spends(operation) else shared
        response = run_operation(seeds, operation)
        counts[operation.name] = len(response.queries)
        if response.status >= 300:
            wrong.append((operation.name, response.status, response.raw.text[:300]))
        if counts[operation.name] != BUDGETS.get(operation.name):
            wrong.append((operation.name, f"{counts[operation.name]} statements", [s[:200] for s in response.queries]))
        if operation.method == "POST" and response.status == 201 and not operation.endpoint.options.is_system:
            limit = MOST_STATEMENTS_OF_A_CREATE + (operation.rule.endswith("/enrolments/"))  # see its budget
            limit += operation.rule == "/api/api-keys/"
            limit += 2 * (operation.rule == "/api/invitations/")  # see its budget
            limit += 3 * (operation.rule == "/api/users/")  # the connection is released while the password is hashed
            limit += 3 * operation.wants_step_up  # and while the issuer's keys are fetched
            if len(response.statements) > limit:
                wrong.append((operation.name, f"{len(response.statements)} in all"))

    assert wrong == []
    assert BUDGETS.keys() == counts.keys()


def test_lists_limit_the_number_of_rows_in_sql(app):
    seeds, seen, loose = seed(app, "Quokka"), 0, []
    for operation in operations(app):
        if operation.method == "GET" and operation.endpoint.options.is_page:
            statements = run_operation(seeds, operation).queries
            seen += 1
            loose += [(operation.name, s) for s in statements[-1:] if not re.search(r"\bLIMIT\b", s)]

    assert loose == []
    assert seen >= 12
