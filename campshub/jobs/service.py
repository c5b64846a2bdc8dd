"""Cancel jobs."""

from uuid import UUID

from campshub.core.db.session import Session
from campshub.core.errors import Conflict
from campshub.core.jobs import store
from campshub.core.jobs.models import ENDED
from campshub.core.security.principal import Principal
from campshub.jobs import queries


class JobEnded(Conflict):
    """The job has already finished."""

    code = "job_ended"
    default_detail = "The job has already finished."


def cancel(session: Session, principal: Principal, *, job_id: UUID) -> None:
    """Cancel a job: at once if it has not started, else after the current step.

    The results of finished steps stay. This is idempotent.

    :raises NotFound: the principal sees no such job.
    :raises JobEnded: it has succeeded or failed.
    """
    job = queries.lock_job(session, principal, job_id)
    if job.state == "cancelled":
        return
    if job.state in ENDED:
        raise JobEnded
    job.cancel_requested_at = job.cancel_requested_at or session.unit.now
    if job.state == "queued" and store.cancel(session, principal.organization_id, job_id):
        job.state, job.finished_at = "cancelled", session.unit.now
