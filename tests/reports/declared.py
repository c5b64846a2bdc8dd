"""What the tests of all modules need from reports."""

from uuid import UUID

from campshub.core.jobs.runner import run_one
from campshub.core.security.permissions import Role
from tests.declared import Declared, Examples, Large

REPORT, SCHEDULE = "/api/reports/<uuid:report_id>/", "/api/report-schedules/<uuid:schedule_id>/"


def seed(seeds):
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
    seeds.create_two("schedule_id", "/api/report-schedules/", *schedules)


def render(tenant, job_id):
    """Run the job of a report."""
    with tenant.app.app_context():
        run_one(tenant.app.extensions["campshub"], tenant.id, UUID(job_id))


def link(seeds):
    """Make the report; return the parameters of a link to its file."""
    admin = seeds.tenant.the(Role.ADMIN)
    url = f"/api/reports/{seeds.ids['report_id']}/"
    report = admin.get(url).json
    if report["state"] == "queued":
        render(seeds.tenant, report["job_id"])
        report = admin.get(url).json
    return {"token": report["download"]["url"].partition("token=")[2]}


def render_example(day, response):
    """Make the report of the examples, which later ones use."""
    day.ids["job_id"], day.seeds.ids["report_id"] = response["job_id"], response["id"]
    render(day.seeds.tenant, response["job_id"])


DECLARED = Declared(
    seed=seed,
    budgets={
        "GET /api/reports/": 1,
        f"GET {REPORT}": 1,
        f"GET {REPORT}file/": 2,  # who has the link, and the report
        "GET /api/report-schedules/": 1,
        f"GET {SCHEDULE}": 1,
        f"PATCH {SCHEDULE}": 3,
        "POST /api/reports/": 5,
        "POST /api/report-schedules/": 3,  # which recipients are members, and the number of schedules
        f"DELETE {REPORT}": 3,
        f"DELETE {SCHEDULE}": 4,  # and its reports refer to it no more
    },
    bodies={f"PATCH {SCHEDULE}": {"name": "Mondays"}},
    queries={f"GET {REPORT}file/": link},
    values={"local_time": "07:30"},
    schemas={
        "ReportIn": {"kind": "attendance_records"},  # it accepts a group as well as a student
        "ReportScheduleIn": {"kind": "attendance_records"},
    },
    references={"recipient_ids": "trainer_id"},
    texts=frozenset({"local_time"}),
    lists={
        "/api/reports/": {
            "kind": "they are stored for days: an organization has some hundred at a time",
            "sort created": ("reports", "id"),
        },
        "/api/report-schedules/": {"sort created": ("report_schedules", "id")},
    },
    unstamped=frozenset({"report_slots"}),
    public={f"GET {REPORT}file/": frozenset({"files"})},
    examples=Examples(
        first=("createReport", "createReportSchedule"),
        created={"createReport": ("report_id", lambda response: response["id"])},
        after={"createReport": render_example},
    ),
    large=Large(
        # There are none.
        rows=lambda _connection, made: {"report_id": str(made.log_id), "schedule_id": str(made.log_id)},
    ),
)
