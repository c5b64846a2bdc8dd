"""The endpoints of background jobs."""

from typing import Any
from uuid import UUID

from campshub.core.errors import NotFound
from campshub.core.http.decorators import cached, needs
from campshub.core.http.routing import Blueprint, Resource
from campshub.core.security.permissions import Permission
from campshub.jobs import queries, schemas, service

jobs = Blueprint("jobs", __name__, url_prefix="/api/jobs", description="Background jobs.")
blueprints = (jobs,)


@jobs.route("/")
class Jobs(Resource):
    """All jobs."""

    @needs(Permission.JOBS_READ)
    @cached(tags=("jobs",))
    @jobs.query(schemas.JobFilter)
    @jobs.answers_page(schemas.JobOut, sorts=("created",))
    def get(self, *, page: Any, **filters: Any) -> Any:
        """List your jobs; admins see those of the whole organization."""
        return queries.list_jobs(self.session, self.principal, page=page, **filters)


@jobs.route("/<uuid:job_id>/")
class OneJob(Resource):
    """One job."""

    @needs(Permission.JOBS_READ)
    @cached(tags=("jobs",))
    @jobs.answers(schemas.JobOut, raises=(NotFound,))
    def get(self, job_id: UUID) -> Any:
        """Show a job and its progress."""
        return queries.get_job(self.session, self.principal, job_id)

    @needs(Permission.JOBS_WRITE)
    @jobs.answers(None, raises=(NotFound, service.JobEnded))
    def delete(self, job_id: UUID) -> None:
        """Cancel a job after its current step; the results of finished steps stay."""
        service.cancel(self.session, self.principal, job_id=job_id)
