"""What the tests of all modules need from jobs."""

from campshub.core.db.models import new_id
from campshub.core.db.unit_of_work import unit_of_work
from campshub.core.jobs.models import Job
from campshub.core.security.permissions import Role
from tests.declared import Declared, Examples, Large

FEW_JOBS = "they are stored for a month: an organization has some thousand at a time, and they are read by their ids"


def seed(seeds):
    """Enqueue jobs that do not run."""
    tenant, first, second = seeds.tenant, new_id(), new_id()
    admin = tenant.the(Role.ADMIN).user_id
    with tenant.app.app_context(), unit_of_work(organization_id=tenant.id, user_id=admin) as session:
        made = {"user_id": admin, "job": f"tests.{seeds.word}", "result": {"word": seeds.word}}
        session.add_all(Job(id=id_, **made) for id_ in (first, second))
    seeds.ids["job_id"] = str(first)
    seeds.others.add(str(second))


def request_a_report(day):
    """Request a report, whose job has not started."""
    body = {"kind": "attendance_records", "format": "csv"}
    day.ids["job_id"] = day.seeds.tenant.the(Role.ADMIN).post("/api/reports/", body).json["job_id"]


DECLARED = Declared(
    seed=seed,
    budgets={
        "GET /api/jobs/": 1,
        "GET /api/jobs/<uuid:job_id>/": 1,
        "DELETE /api/jobs/<uuid:job_id>/": 3,  # and its message
    },
    lists={"/api/jobs/": {"state": FEW_JOBS, "job": FEW_JOBS, "sort created": ("jobs", "id")}},
    examples=Examples(before={"deleteJob": request_a_report}),
    large=Large(
        rows=lambda _connection, made: {"job_id": str(made.log_id)},  # there are none
        values=lambda *_: {"job": ["reports.render"], "state": ["queued"]},
    ),
)
