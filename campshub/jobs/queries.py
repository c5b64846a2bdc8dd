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

everyone_sees(Job)  # and each statement here says whose


def _whose(principal: Principal, *, everyones: bool, api_key_id: Any) -> ColumnElement[bool]:
    seen = visible_to(principal, Job)
    if api_key_id is not None:  # a key sees what was asked for with it, and nothing else of whoever made it
        return and_(seen, Job.user_id == principal.user_id, Job.api_key_id == api_key_id)
    return and_(seen, true() if everyones else Job.user_id == principal.user_id)


def sees_everyones(principal: Principal) -> bool:
    """Tell whether somebody sees the jobs of others: who may change the organization, and sees all of it, does."""
    return principal.scope is Scope.ALL and principal.may(Permission.ORGANIZATION_WRITE)


def list_jobs(
    session: Session, principal: Principal, *, page: PageRequest, state: str | None = None, job: str | None = None
) -> Page:
    """List one's own jobs; who may change the organization sees those of all."""
    asked = _listed(
        principal,
        everyones=sees_everyones(principal),
        api_key_id=principal.api_key_id,
        page=page,
        state=state,
        job=job,
    )
    return page.read(session, asked)


@prepared
def _listed(
    principal: Principal, *, everyones: bool, api_key_id: Any, page: PageRequest, state: str | None, job: str | None
) -> AnySelect:
    given = [column == value for column, value in ((Job.state, state), (Job.job, job)) if value is not None]
    rows = select(*page.choose(COLUMNS)).where(_whose(principal, everyones=everyones, api_key_id=api_key_id), *given)
    return page.ordered(rows, order=(Job.id,))


def get_job(session: Session, principal: Principal, job_id: UUID) -> AnyRow:
    """Return a job.

    :raises NotFound: the principal sees no such job.
    """
    asked = _job(principal, job_id=job_id, everyones=sees_everyones(principal), api_key_id=principal.api_key_id)
    found = session.execute(asked).one_or_none()
    if found is None:
        raise NotFound
    row: AnyRow = found
    return row


@prepared
def _job(principal: Principal, *, job_id: UUID, everyones: bool, api_key_id: Any) -> AnySelect:
    whose = _whose(principal, everyones=everyones, api_key_id=api_key_id)
    return select(*COLUMNS).where(whose, Job.id == job_id)


def lock_job(session: Session, principal: Principal, job_id: UUID) -> Job:
    """Return a job and keep others from changing it.

    :raises NotFound: the principal sees no such job.
    """
    whose = _whose(principal, everyones=sees_everyones(principal), api_key_id=principal.api_key_id)
    found = session.scalars(select(Job).where(whose, Job.id == job_id).with_for_update()).one_or_none()
    if found is None:
        raise NotFound
    job: Job = found
    return job
