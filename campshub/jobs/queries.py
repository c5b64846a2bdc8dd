"""Reads of jobs."""

from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, and_, select, true

from campshub.core.db.models import AnyRow
from campshub.core.db.prepared import AnySelect, prepared
from campshub.core.db.session import Session
from campshub.core.errors import NotFound
from campshub.core.jobs.models import Job
from campshub.core.paging import Page, PageRequest
from campshub.core.security.permissions import Permission, Scope
from campshub.core.security.principal import Principal, everyone_sees, visible_to

COLUMNS = (
    Job.id,
    Job.job,
    Job.user_id,
    Job.state,
    Job.done,
    Job.total,
    Job.result,
    Job.problem,
    Job.cancel_requested_at,
    Job.created_at,
    Job.started_at,
    Job.finished_at,
    Job.updated_at,
    Job.version,
)

everyone_sees(Job)  # each statement here adds a condition on the owner


def _visible_jobs(principal: Principal, *, all_users: bool, api_key_id: Any) -> ColumnElement[bool]:
    seen = visible_to(principal, Job)
    if api_key_id is not None:  # a key sees the jobs requested with it, and no others of its maker
        return and_(seen, Job.user_id == principal.user_id, Job.api_key_id == api_key_id)
    return and_(seen, true() if all_users else Job.user_id == principal.user_id)


def sees_all_jobs(principal: Principal) -> bool:
    """Return whether the principal sees the jobs of others: users who may change, and see all of, the organization."""
    return principal.scope is Scope.ALL and principal.may(Permission.ORGANIZATION_WRITE)


def list_jobs(
    session: Session, principal: Principal, *, page: PageRequest, state: str | None = None, job: str | None = None
) -> Page:
    """List the principal's jobs; users who may change the organization see all jobs."""
    query = _listed(
        principal,
        all_users=sees_all_jobs(principal),
        api_key_id=principal.api_key_id,
        page=page,
        state=state,
        job=job,
    )
    return page.read(session, query)


@prepared
def _listed(
    principal: Principal, *, all_users: bool, api_key_id: Any, page: PageRequest, state: str | None, job: str | None
) -> AnySelect:
    given = [column == value for column, value in ((Job.state, state), (Job.job, job)) if value is not None]
    visible = _visible_jobs(principal, all_users=all_users, api_key_id=api_key_id)
    return page.ordered(select(*page.choose(COLUMNS)).where(visible, *given), order=(Job.id,))


def get_job(session: Session, principal: Principal, job_id: UUID) -> AnyRow:
    """Return a job.

    :raises NotFound: the principal sees no such job.
    """
    query = _job(principal, job_id=job_id, all_users=sees_all_jobs(principal), api_key_id=principal.api_key_id)
    found = session.execute(query).one_or_none()
    if found is None:
        raise NotFound
    row: AnyRow = found
    return row


@prepared
def _job(principal: Principal, *, job_id: UUID, all_users: bool, api_key_id: Any) -> AnySelect:
    condition = _visible_jobs(principal, all_users=all_users, api_key_id=api_key_id)
    return select(*COLUMNS).where(condition, Job.id == job_id)


def lock_job(session: Session, principal: Principal, job_id: UUID) -> Job:
    """Lock a job and return it.

    :raises NotFound: the principal sees no such job.
    """
    condition = _visible_jobs(principal, all_users=sees_all_jobs(principal), api_key_id=principal.api_key_id)
    found = session.scalars(select(Job).where(condition, Job.id == job_id).with_for_update()).one_or_none()
    if found is None:
        raise NotFound
    job: Job = found
    return job
