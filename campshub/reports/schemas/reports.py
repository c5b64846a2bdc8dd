"""Schemas of reports and schedules."""

from typing import Any

from marshmallow import Schema, validate
from marshmallow import fields as ma

from campshub.core.http.schemas import fields
from campshub.reports.dates import PERIODS
from campshub.reports.formats import FORMATS
from campshub.reports.kinds import all_kinds
from campshub.reports.models import FREQUENCIES, SHOWN_STATES

KINDS = tuple(all_kinds())
MOST_RECIPIENTS = 50
_CLOCK = validate.Regexp(r"^([01][0-9]|2[0-3]):[0-5][0-9]$", error="Must be a time from 00:00 to 23:59, written HH:MM.")


def _parameters() -> type[Schema]:
    """Return a schema with the parameters of all kinds; the service refuses those that a kind does not take."""
    named: dict[str, Any] = {
        "period": fields.Text(
            one_of=PERIODS,
            metadata={"description": "A named range of dates; in a schedule, relative to the day the report is made."},
        ),
        "from": fields.LocalDate(),
        "to": fields.LocalDate(),
        "on": fields.LocalDate(),
    }
    for kind in all_kinds().values():
        named |= kind.takes
    for name in {*named} - {"period", "from", "to", "on"}:
        named[name].metadata["description"] = _of_kinds(name)
    return fields.In.from_dict(named, name="ReportParametersIn")


def _shown_parameters() -> type[Schema]:
    """Return the schema of the parameters that a report was made with."""
    named: dict[str, Any] = {
        "period": fields.Text(one_of=PERIODS),
        "from": ma.Date(metadata={"description": "The first date."}),
        "to": ma.Date(metadata={"description": "The last date."}),
        "on": ma.Date(metadata={"description": "The date, for kinds about a single day."}),
        "group_id": fields.Id(metadata={"description": _of_kinds("group_id")}),
        "student_id": fields.Id(metadata={"description": _of_kinds("student_id")}),
    }
    return fields.Out.from_dict(named, name="ReportParametersOut")


def _of_kinds(name: str) -> str:
    """Name the kinds of report that take a parameter, and those that need it."""
    takes = [f"`{kind.name}`" for kind in all_kinds().values() if name in kind.takes]
    needs = [f"`{kind.name}`" for kind in all_kinds().values() if name in kind.needs]
    return f"Of {', '.join(takes)}." + (f" Required by {', '.join(needs)}." if needs else "")


ReportParametersOut = _shown_parameters()


ReportParametersIn = _parameters()


class ReportIn(fields.In):
    """A requested report."""

    example = fields.Example(
        kind="attendance_register",
        format="pdf",
        parameters={"group_id": fields.example_id("group_id"), "period": "this_month"},
    )

    kind = fields.Text(required=True, one_of=KINDS)
    format = fields.Text(required=True, one_of=FORMATS)
    parameters = ma.Nested(ReportParametersIn, load_default=dict)


class DownloadOut(fields.Out):
    """A short-lived link to a report's file."""

    url = fields.Text(required=True)
    expires_at = ma.AwareDateTime(required=True)


class ListedReportOut(fields.Out):
    """A report and its progress."""

    documented_as = "ReportBrief"

    id = fields.Id(required=True)
    user_id = fields.Id(required=True, metadata={"description": "Who requested it."})
    schedule_id = fields.Id(required=True, allow_none=True)
    job_id = fields.Id(required=True)
    kind = fields.Text(required=True, one_of=KINDS)
    format = fields.Text(required=True, one_of=FORMATS)
    parameters = fields.Stored(ReportParametersOut, required=True)
    state = fields.Text(required=True, one_of=SHOWN_STATES)
    done = ma.Integer(required=True, metadata={"description": "Rows so far."})
    total = ma.Integer(required=True, allow_none=True, metadata={"description": "Rows in all, once that is known."})
    bytes = ma.Integer(required=True, allow_none=True)
    notes = ma.List(fields.Text(), required=True, metadata={"description": "Notes about how it was made."})
    problem = fields.Text(required=True, allow_none=True, metadata={"description": "Why it was not made: a code."})
    ready_at = ma.AwareDateTime(required=True, allow_none=True)
    expires_at = ma.AwareDateTime(required=True, metadata={"description": "When it is removed."})
    created_at = ma.AwareDateTime(required=True)
    version = ma.Integer(required=True)


class ReportOut(ListedReportOut):
    """A report with a link to its file, if it may be downloaded."""

    documented_as = "Report"

    download = ma.Nested(DownloadOut, required=True, allow_none=True)


class NewReportOut(fields.Out):
    """A report that will be made."""

    id = fields.Id(required=True)
    job_id = fields.Id(required=True, metadata={"description": "Its progress is at /api/jobs/{id}/."})
    kind = fields.Text(required=True, one_of=KINDS)
    format = fields.Text(required=True, one_of=FORMATS)
    parameters = fields.Stored(ReportParametersOut, required=True, metadata={"description": "With resolved dates."})
    expires_at = ma.AwareDateTime(required=True)
    version = ma.Integer(required=True)


class ReportFilter(fields.Filter):
    """Filters of reports."""

    kind = fields.Text(load_default=None, one_of=KINDS)


class FileToken(fields.In):
    """The token of a download link."""

    token = fields.Text(required=True, most=300)


class _Schedule(fields.In):
    """Fields common to creating and changing a schedule."""

    weekday = fields.Integer(allow_none=True, most=6, metadata={"description": "Of a weekly one; 0 is Monday."})
    day = fields.Integer(
        allow_none=True, least=1, most=31, metadata={"description": "Of a monthly one; a shorter month's last."}
    )


class ReportScheduleIn(_Schedule):
    """A report to be made regularly; recipients get an e-mail with a link."""

    example = fields.Example(
        id=fields.example_id("schedule_id"),
        name="Register of the last month",
        kind="attendance_register",
        format="pdf",
        parameters={"group_id": fields.example_id("group_id"), "period": "last_month"},
        frequency="monthly",
        day=1,
        local_time="07:30",
        recipient_ids=[fields.example_id("user_id")],
    )

    id = fields.Id(metadata={"description": "Your own id (UUID version 7), so that a retry is no second schedule."})
    name = fields.Name(required=True)
    kind = fields.Text(required=True, one_of=KINDS)
    format = fields.Text(required=True, one_of=FORMATS)
    parameters = ma.Nested(ReportParametersIn, load_default=dict)
    frequency = fields.Text(required=True, one_of=FREQUENCIES)
    weekday = fields.Integer(load_default=None, allow_none=True, most=6, metadata={"description": "0 is Monday."})
    day = fields.Integer(load_default=None, allow_none=True, least=1, most=31)
    local_time = fields.Text(required=True, most=5, metadata={"description": "On the organization's clock, HH:MM."})
    recipient_ids = fields.BoundedList(fields.Id(), required=True, most=MOST_RECIPIENTS)
    is_paused = fields.Boolean(load_default=False)


class ReportSchedulePatch(_Schedule):
    """Changes of a schedule; omitted fields stay as they are."""

    example = fields.Example(local_time="08:00")

    name = fields.Name()
    format = fields.Text(one_of=FORMATS)
    parameters = ma.Nested(ReportParametersIn)
    frequency = fields.Text(one_of=FREQUENCIES)
    local_time = fields.Text(most=5)
    recipient_ids = fields.BoundedList(fields.Id(), most=MOST_RECIPIENTS)
    is_paused = fields.Boolean()


class ReportScheduleOut(fields.Out):
    """A schedule."""

    id = fields.Id(required=True)
    user_id = fields.Id(required=True, metadata={"description": "As whom its reports are made."})
    name = fields.Text(required=True)
    kind = fields.Text(required=True, one_of=KINDS)
    format = fields.Text(required=True, one_of=FORMATS)
    parameters = fields.Stored(ReportParametersOut, required=True)
    frequency = fields.Text(required=True, one_of=FREQUENCIES)
    weekday = ma.Integer(required=True, allow_none=True)
    day = ma.Integer(required=True, allow_none=True)
    local_time = fields.Text(required=True)
    recipient_ids = ma.List(fields.Id(), required=True)
    is_paused = fields.Boolean(required=True)
    next_at = ma.AwareDateTime(required=True)
    created_at = ma.AwareDateTime(required=True)
    updated_at = ma.AwareDateTime(required=True)
    version = ma.Integer(required=True)


for _schema in (ReportScheduleIn, ReportSchedulePatch):
    _schema._declared_fields["local_time"].validators.append(_CLOCK)  # noqa: SLF001 - the pattern beside the length
