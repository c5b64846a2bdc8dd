"""What the tests of all modules need from leave."""

from datetime import timedelta

from campshub.core.http.schemas.fields import example_id
from campshub.core.security.permissions import Role
from tests.dates import today
from tests.declared import Declared, Examples, Large

MANY = 1_000
LEAVE = "/api/attendance/leave-requests/"
REQUEST = f"{LEAVE}<uuid:leave_request_id>/"
OF_ONE_GROUP = "checked along the order of the dates, for each request by the indexes of enrolments and sessions"


def body_of(seeds, **fields):
    """Return a request for the seeded student, whose reason contains the organization's word."""
    day = str(today() + timedelta(days=90))
    seeded = {"student_id": seeds.ids["student_id"], "first_date": day, "last_date": day, "reason": f"Ill {seeds.word}"}
    return {**seeded, **fields}


def seed(seeds):
    """Create two requests for days without sessions."""
    seeds.create_two("leave_request_id", LEAVE, body_of(seeds), body_of(seeds))


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
        # The lock of the schedule, the request, its change, its sessions, their marks, the code, the marks, the
        # registers' versions, which request made them, audit.
        f"POST {REQUEST}approve/": 12,
        f"POST {REQUEST}reject/": 4,
        # The lock, the request, its change, its marks, their sessions, their versions, the rows, their removal (2),
        # the registers' versions, other requests, audit.
        f"POST {REQUEST}cancel/": 14,
    },
    creates={f"POST {LEAVE}": 6},  # see its budget
    bodies={f"POST {REQUEST}reject/": {"comment": "Exam."}},
    real_bodies={f"POST {LEAVE}": lambda seeds, _client: body_of(seeds)},
    before={
        f"POST {REQUEST}approve/": absence,
        f"POST {REQUEST}reject/": new_request,
        f"POST {REQUEST}cancel/": approved_absence,
    },
    spending=("/approve/", "/reject/", "/cancel/"),
    schemas={"LeaveRequestIn": {"first_date": str(today()), "last_date": str(today())}},
    texts=frozenset({"comment", "reason"}),
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
        first=("createLeaveRequest", "rejectLeaveRequest"), before={"approveLeaveRequest": another_example}
    ),
    large=Large(
        rows=rows,
        values=lambda _made, _ids: {"status": ["pending", "approved"]},
        tables=frozenset({"leave_requests"}),
    ),
)
