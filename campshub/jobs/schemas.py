"""Jobs: what goes out."""

from marshmallow import fields as ma

from campshub.core.http.schemas import fields
from campshub.core.jobs.models import STATES


class JobFilter(fields.Filter):
    """Which jobs are wanted."""

    state = fields.Text(one_of=STATES)
    job = fields.Text(most=100, metadata={"description": "What is done, such as `reports.render`."})


class JobResultOut(fields.Out):
    """What a job has led to: each kind of job gives some of these."""

    report_id = fields.Id(metadata={"description": "Of `reports.render`."})
    url = fields.Text(metadata={"description": "Where the result is."})
    written = ma.Integer(metadata={"description": "Rows written."})
    removed = ma.Integer(metadata={"description": "Rows removed."})
    deleted = ma.Integer(metadata={"description": "Rows deleted."})


class JobOut(fields.Out):
    """Work that goes on in the background, and how far it is."""

    id = fields.Id(required=True)
    job = fields.Text(required=True, metadata={"description": "What is done, such as `reports.render`."})
    user_id = fields.Id(required=True, allow_none=True, metadata={"description": "Who asked for it."})
    state = fields.Text(required=True, one_of=STATES)
    done = ma.Integer(required=True, metadata={"description": "How much is done, of `total`."})
    total = ma.Integer(required=True, allow_none=True, metadata={"description": "None: not known yet."})
    result = fields.Stored(JobResultOut, required=True, allow_none=True)
    problem = fields.Text(required=True, allow_none=True, metadata={"description": "Why it has failed."})
    cancel_requested_at = fields.Instant(required=True, allow_none=True)
    created_at = fields.Instant(required=True)
    started_at = fields.Instant(required=True, allow_none=True)
    finished_at = fields.Instant(required=True, allow_none=True)
    updated_at = fields.Instant(required=True)
    version = ma.Integer(required=True)
