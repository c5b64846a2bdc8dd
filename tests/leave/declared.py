"""What the tests of all modules need from leave."""

import base64
from datetime import timedelta

from campshub.core.http.schemas.fields import example_id
from campshub.core.security.permissions import Role
from tests.dates import today
from tests.declared import Declared, Examples, Large

MANY = 1_000
LEAVE = "/api/attendance/leave-requests/"
REQUEST = f"{LEAVE}<uuid:leave_request_id>/"
PDF = {"name": "doctor.pdf", "content": base64.b64encode(b"%PDF-1.7").decode()}
OF_ONE_GROUP = "checked along the order of the dates, for each request by the indexes of enrolments and sessions"


def body_of(seeds, **fields):
    """Return a request for the seeded student, whose reason contains the organization's word."""
    day = str(today() + timedelta(days=90))
    seeded = {"student_id": seeds.ids["student_id"], "first_date": day, "last_date": day, "reason": f"Ill {seeds.word}"}
    return {**seeded, **fields}


def seed(seeds):
    """Create two requests for days without sessions."""
    first, _ = seeds.create_two("leave_request_id", LEAVE, body_of(seeds), body_of(seeds))
    attach(seeds, first)


def attach(seeds, leave_request_id):
    """Attach a file to a request."""
    url = f"{LEAVE}{leave_request_id}/attachment/"
    assert seeds.tenant.the(Role.ADMIN).put(url, {**PDF, "name": f"{seeds.word}.pdf"}).status == 200


def link(seeds):
    """Return the parameters of a link to the attachment of the request; attach it again if a test has removed it."""
    admin, url = seeds.tenant.the(Role.ADMIN), f"{LEAVE}{seeds.ids['leave_request_id']}/attachment/"
    if admin.get(url).status != 200:
        attach(seeds, seeds.ids["leave_request_id"])
    return {"token": admin.get(url).json["url"].partition("token=")[2]}


def note_example(day, response):
    """Let the link of the examples lead to their request."""
    day.seeds.ids["leave_request_id"] = response["id"]


def new_request(seeds, _client):
    """Create a request that is pending."""
    seeds.ids["leave_request_id"] = seeds.tenant.the(Role.ADMIN).made(LEAVE, body_of(seeds))["id"]


def absence(seeds, _client):
    """Create a request about a new session."""
    admin, day = seeds.tenant.the(Role.ADMIN), str(today() + timedelta(days=40))
    group = {"group_id": seeds.ids["group_id"], "local_date": day}
    there = admin.get(f"/api/attendance/sessions/?group_id={group['group_id']}&from={day}&to={day}").json["items"]
    if not there:
        admin.made("/api/attendance/sessions/", {**group, "slot": "09:00"})
    made = admin.made(LEAVE, body_of(seeds, first_date=day, last_date=day))
    seeds.ids["leave_request_id"] = made["id"]


def approved_absence(seeds, client):
    """Create an approved request about a new session."""
    absence(seeds, client)
    url = f"{LEAVE}{seeds.ids['leave_request_id']}/approve/"
    assert seeds.tenant.the(Role.ADMIN).post(url, {}).status == 200


def another_example(day):
    """Create a request that is pending: that of the examples has been rejected."""
    body = {
        "student_id": example_id("student_id"),
        "first_date": str(today()),
        "last_date": str(today()),
        "reason": "Ill.",
    }
    day.ids["leave_request_id"] = day.seeds.tenant.the(Role.ADMIN).made(LEAVE, body)["id"]


def rows(connection, made):
    """Create requests in the large organization, unless they exist; return the id of one."""
    values = {"organization_id": made.organization_id, "many": MANY}
    connection.execute(
        """
        INSERT INTO leave_requests (organization_id, id, student_id, first_date, last_date, reason, status)
        SELECT %(organization_id)s, uuidv7(), s.id, current_date - mod(n, 300), current_date - mod(n, 300) + 2, 'Ill',
               CASE WHEN mod(n, 50) = 0 THEN 'pending' ELSE 'cancelled' END
          FROM (SELECT id, row_number() OVER (ORDER BY id)::int AS n FROM students
                 WHERE organization_id = %(organization_id)s LIMIT %(many)s) s
         WHERE NOT EXISTS (SELECT FROM leave_requests WHERE organization_id = %(organization_id)s)
        """,
        values,
    )
    connection.execute("ANALYZE leave_requests")
    found = connection.execute(
        "SELECT id FROM leave_requests WHERE organization_id = %(organization_id)s LIMIT 1", values
    ).fetchone()
    return {"leave_request_id": str(found[0])}


DECLARED = Declared(
    seed=seed,
    budgets={
        f"GET {LEAVE}": 1,
        f"GET {REQUEST}": 1,
        f"POST {LEAVE}": 4,  # an earlier create, and whether the student, the group and the session are visible
        f"GET {REQUEST}attachment/": 1,
        f"GET {REQUEST}attachment/file/": 2,  # who has the link, and the attachment
        f"PUT {REQUEST}attachment/": 4,
        f"DELETE {REQUEST}attachment/": 4,
        # The lock of the schedule, the request, its change, its sessions, their marks, the code, the marks, the
        # registers' versions, which request made them, audit.
        f"POST {REQUEST}approve/": 12,
        f"POST {REQUEST}reject/": 4,
        # The lock, the request, its change, its marks, their sessions, their versions, the rows, their removal (2),
        # the registers' versions, other requests, audit.
        f"POST {REQUEST}cancel/": 14,
    },
    creates={f"POST {LEAVE}": 6},  # see its budget
    bodies={f"POST {REQUEST}reject/": {"comment": "Exam."}, f"PUT {REQUEST}attachment/": PDF},
    queries={f"GET {REQUEST}attachment/file/": link},
    public={f"GET {REQUEST}attachment/file/": frozenset({"files"})},
    real_bodies={f"POST {LEAVE}": lambda seeds, _client: body_of(seeds)},
    before={
        f"POST {REQUEST}approve/": absence,
        f"POST {REQUEST}reject/": new_request,
        f"PUT {REQUEST}attachment/": new_request,
        f"POST {REQUEST}cancel/": approved_absence,
    },
    spending=("/approve/", "/reject/", "/cancel/"),
    values={"content": PDF["content"]},
    schemas={"LeaveRequestIn": {"first_date": str(today()), "last_date": str(today())}},
    texts=frozenset({"comment", "content", "reason"}),
    lists={
        LEAVE: {
            "status": ("leave_requests", "status", "first_date", "id"),
            "student_id": ("leave_requests", "student_id", "first_date", "id"),
            "group_id": OF_ONE_GROUP,
            "from": "leave has at most 366 days: along the order of the first dates",
            "to": ("leave_requests", "first_date", "id"),
            "sort date": ("leave_requests", "first_date", "id"),
        },
    },
    unstamped=frozenset({"leave_marks"}),
    others={f"POST {LEAVE}": {"reason": "Something else."}},
    examples=Examples(
        first=("createLeaveRequest", "attachToLeaveRequest", "rejectLeaveRequest"),
        before={"approveLeaveRequest": another_example},
        after={"attachToLeaveRequest": note_example},
    ),
    large=Large(
        rows=rows,
        values=lambda _made, _ids: {"status": ["pending", "approved"]},
        tables=frozenset({"leave_requests"}),
    ),
)
