"""What the tests of all modules need from analytics."""

from datetime import UTC, datetime
from uuid import UUID

from campshub.analytics.models import AttendanceAlert
from campshub.core.db import writes
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.http.schemas.fields import example_id
from campshub.core.security.permissions import Role
from tests.dates import today
from tests.declared import Declared, Examples, Large

ANALYTICS, ALERTS = "/api/attendance/analytics/", "/api/attendance/alerts/"
STREAKS, ALERT = f"{ANALYTICS}students/<uuid:student_id>/streaks/", f"{ALERTS}<uuid:attendance_alert_id>/"
# Each student has one row a month, and an organization some thousand students: all of them are read.
EVERY_STUDENT = "computed from all students of the organization, whose months an index finds"


def seed(seeds):
    """Raise two alerts about the first student, and put two students at risk."""
    admin = seeds.tenant.the(Role.ADMIN)
    assert admin.patch("/api/organization/", {"at_risk_rate": 100}).status == 200
    gym = admin.made("/api/attendance/sessions/", {"local_date": str(today()), "slot": "07:30"})["id"]
    absent = [{"student_id": row["id"], "code": "absent"} for row in admin.get("/api/students/?limit=2").json["items"]]
    marked = admin.put(f"/api/attendance/sessions/{gym}/records/", {"records": absent})
    assert marked.json["summary"]["created"] == 2, marked.json
    seeds.others |= {gym, *(row["id"] for row in marked.json["results"])}
    first, second = raised(seeds.tenant, seeds.ids["student_id"])
    seeds.ids["attendance_alert_id"] = first
    seeds.others.add(second)


def raised(tenant, student_id):
    """Raise two alerts about a student; return their ids."""
    rows = [
        {"student_id": UUID(student_id), "rule": rule, "value": 3, "threshold": 2, "raised_at": datetime.now(UTC)}
        for rule in ("absences", "days_away")
    ]
    with tenant.app.app_context(), unit_of_work(organization_id=tenant.id) as session:
        return [str(row.id) for row in writes.insert(session, AttendanceAlert, rows)]


def alert_of(day):
    """Raise an alert about the student of the examples."""
    day.ids["attendance_alert_id"], _ = raised(day.seeds.tenant, example_id("student_id"))


def rows(connection, made):
    """Create alerts in the large organization, unless they exist; return the id of one."""
    values = {"organization_id": made.organization_id}
    connection.execute(
        """
        INSERT INTO attendance_alerts
               (organization_id, id, student_id, rule, value, threshold, raised_at, resolved_at)
        SELECT organization_id, uuidv7(), id, (ARRAY['rate', 'absences', 'days_away'])[1 + n %% 3], 9, 5,
               now() - n * INTERVAL '1 day', CASE WHEN n > 3 THEN now() END
          FROM students, generate_series(1, 9) n
         WHERE organization_id = %(organization_id)s
           AND NOT EXISTS (SELECT FROM attendance_alerts WHERE organization_id = %(organization_id)s)
        """,
        values,
    )
    connection.execute("ANALYZE attendance_alerts")
    found = connection.execute(
        "SELECT id FROM attendance_alerts WHERE organization_id = %(organization_id)s LIMIT 1", values
    ).fetchone()
    return {"attendance_alert_id": str(found[0])}


DECLARED = Declared(
    seed=seed,
    budgets={
        f"GET {ANALYTICS}rates/": 1,
        f"GET {STREAKS}": 1,
        f"GET {ANALYTICS}heat-map/": 1,
        f"GET {ANALYTICS}punctuality/": 1,
        **{f"GET {ANALYTICS}{chart}/{end}/": 2 for chart in ("rates", "heat-map") for end in ("svg", "png")},
        "GET /api/attendance/at-risk/": 2,  # the rules say how many months are read
        f"GET {ALERTS}": 1,
        f"POST {ALERT}acknowledge/": 3,
    },
    spending=("/acknowledge/",),
    examples=Examples(before={"acknowledgeAttendanceAlert": alert_of}),
    references={"acknowledged_by": "user_id"},
    lists={
        "/api/attendance/at-risk/": {"group_id": EVERY_STUDENT, "rule": EVERY_STUDENT, "sort name": EVERY_STUDENT},
        ALERTS: {
            "open": "=ix_attendance_alerts_open",
            "acknowledged": "open alerts are few, and they are the ones that this is asked about",
            "student_id": ("attendance_alerts", "student_id", "raised_at", "id"),
            "rule": ("attendance_alerts", "rule", "raised_at", "id"),
            "sort raised": ("attendance_alerts", "raised_at", "id"),
        },
    },
    large=Large(
        rows=rows,
        values=lambda _made, _ids: {
            "acknowledged": ["false"],
            "basis": ["taken", "scheduled"],
            "by": ["week", "month"],
            "open": ["true"],
            "rule": ["absences"],
        },
        tables=frozenset({"attendance_alerts"}),
        sorted=(
            (ANALYTICS, "a few hundred days, or the sessions of these days, added up"),
            ("/api/attendance/at-risk/", EVERY_STUDENT),
        ),
    ),
)
