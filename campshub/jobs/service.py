"""Changes of jobs by those who asked for them."""

from uuid import UUID

from campshub.core.db.session import Session
from campshub.core.errors import Conflict
from campshub.core.jobs import store
from campshub.core.jobs.models import ENDED
from campshub.core.security.principal import Principal
from campshub.jobs import queries


class JobEnded(Conflict):
    """The job has ended already."""

    code = "job_ended"
    default_detail = "The job has ended already."


def cancel(session: Session, principal: Principal, *, job_id: UUID) -> None:
    """Cancel a job: at once where nobody has begun it, else after the step that is at work.

    What its steps have done stays done. A second time changes nothing.

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
