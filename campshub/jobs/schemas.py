"""Schemas of jobs."""

from marshmallow import fields as ma

from campshub.core.http.schemas import fields
from campshub.core.jobs.models import STATES


class JobFilter(fields.Filter):
    """Filters of jobs."""

    state = fields.Text(one_of=STATES)
    job = fields.Text(most=100, metadata={"description": "The name of the job, such as `reports.render`."})


class JobResultOut(fields.Out):
    """The result of a job; each job sets some of these fields."""

    report_id = fields.Id(metadata={"description": "The report of `reports.render`."})
    url = fields.Text(metadata={"description": "The URL of the result."})
    written = ma.Integer(metadata={"description": "Rows written."})
    removed = ma.Integer(metadata={"description": "Rows removed."})
    deleted = ma.Integer(metadata={"description": "Rows deleted."})


class JobOut(fields.Out):
    """A background job and its progress."""

    id = fields.Id(required=True)
    job = fields.Text(required=True, metadata={"description": "The name of the job, such as `reports.render`."})
    user_id = fields.Id(required=True, allow_none=True, metadata={"description": "Who requested it."})
    state = fields.Text(required=True, one_of=STATES)
    done = ma.Integer(required=True, metadata={"description": "The finished part of `total`."})
    total = ma.Integer(required=True, allow_none=True, metadata={"description": "Null: not known yet."})
    result = fields.Stored(JobResultOut, required=True, allow_none=True)
    problem = fields.Text(required=True, allow_none=True, metadata={"description": "The reason of a failure."})
    cancel_requested_at = fields.Instant(required=True, allow_none=True)
    created_at = fields.Instant(required=True)
    started_at = fields.Instant(required=True, allow_none=True)
    finished_at = fields.Instant(required=True, allow_none=True)
    updated_at = fields.Instant(required=True)
    version = ma.Integer(required=True)
