"""Schemas of change feeds; the items are those of the lists."""

from typing import Any

from marshmallow import ValidationError
from marshmallow import fields as ma

from campshub.attendance.schemas.codes import AttendanceCodeOut
from campshub.attendance.schemas.records import AttendanceRecordOut
from campshub.attendance.schemas.sessions import AttendanceSessionOut
from campshub.core.http.schemas import fields
from campshub.students.schemas.groups import EnrolmentOut, GroupOut
from campshub.students.schemas.students import StudentPresentOut
from campshub.workouts.schemas.logs import LogHeaderOut

LIMIT = 200
MOST = 1_000
# A token names the transactions that were running: some ten characters for each.
LONGEST_TOKEN = 4_000
ENTITIES = ("groups", "enrolments", "students", "sessions", "records", "codes")


class ChangesFilter(fields.Filter):
    """The token and the size of the page."""

    since = fields.Text(
        load_default=None,
        most=LONGEST_TOKEN,
        metadata={"description": "`next` of the previous response; without it, all items are returned."},
    )
    limit = fields.Integer(
        least=1,
        most=MOST,
        in_query=True,
        load_default=LIMIT,
        metadata={"description": "The maximum number of items and deleted ids in the response."},
    )


class DatedChangesFilter(ChangesFilter):
    """The same, of items that have a date."""

    first_date = fields.LocalDate(
        data_key="from",
        load_default=None,
        metadata={"description": "Only items from this date on; it must be the same in all calls."},
    )


class EntityNames(fields.Text):
    """Names of entities, separated by commas; it loads as a set of them."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **options: Any) -> Any:
        names = frozenset(super()._deserialize(value, attr, data, **options).split(","))
        unknown = names.difference(ENTITIES)
        if unknown:
            raise ValidationError(f"No such entity: {', '.join(sorted(unknown))}.")
        return tuple(sorted(names))


class SyncFilter(DatedChangesFilter):
    """The entities of a copy."""

    entities = EntityNames(
        required=True,
        metadata={
            "description": f"A comma-separated list of {', '.join(ENTITIES)}; it must be the same in all calls.",
        },
    )


class ChangedGroupOut(GroupOut):
    """A group with the ids of its trainers."""

    documented_as = "ChangedGroup"

    trainer_ids = ma.List(fields.Id(), required=True)


class _Part(fields.Out):
    """Changes of one entity."""

    deleted = ma.List(
        fields.Id(),
        required=True,
        metadata={"description": "Ids of items that are deleted, or that you do not see any more."},
    )


class _Page(fields.Out):
    """A page of changes."""

    next = fields.Text(required=True, metadata={"description": "The token of the next page or the next call."})
    has_more = ma.Boolean(required=True, metadata={"description": "Whether to call again at once for the next page."})


class CodePartOut(_Part):
    """Changed and deleted codes."""

    items = ma.List(ma.Nested(AttendanceCodeOut), required=True)


class CodeChangesOut(_Page, CodePartOut):
    """A page of changed and deleted codes."""


class GroupPartOut(_Part):
    """Changed and deleted groups."""

    items = ma.List(ma.Nested(ChangedGroupOut), required=True)


class GroupChangesOut(_Page, GroupPartOut):
    """A page of changed and deleted groups."""


class StudentPartOut(_Part):
    """Changed and deleted students."""

    items = ma.List(ma.Nested(StudentPresentOut), required=True)


class StudentChangesOut(_Page, StudentPartOut):
    """A page of changed and deleted students."""


class EnrolmentPartOut(_Part):
    """Changed and deleted enrolments."""

    items = ma.List(ma.Nested(EnrolmentOut), required=True)


class EnrolmentChangesOut(_Page, EnrolmentPartOut):
    """A page of changed and deleted enrolments."""


class SessionPartOut(_Part):
    """Changed and deleted sessions."""

    items = ma.List(ma.Nested(AttendanceSessionOut), required=True)


class SessionChangesOut(_Page, SessionPartOut):
    """A page of changed and deleted sessions."""


class RecordPartOut(_Part):
    """Changed and deleted records."""

    items = ma.List(ma.Nested(AttendanceRecordOut), required=True)


class RecordChangesOut(_Page, RecordPartOut):
    """A page of changed and deleted records."""


class WorkoutLogChangesOut(_Page, _Part):
    """A page of changed and deleted workout logs."""

    items = ma.List(ma.Nested(LogHeaderOut), required=True)


def _part(schema: type[fields.Out]) -> Any:
    """Return the field of one entity's changes."""
    return ma.Nested(
        schema, required=True, allow_none=True, metadata={"description": "Null if the entity was not requested."}
    )


class SyncOut(_Page):
    """Changes of several entities; store them in the order of these fields."""

    codes = _part(CodePartOut)
    groups = _part(GroupPartOut)
    students = _part(StudentPartOut)
    enrolments = _part(EnrolmentPartOut)
    sessions = _part(SessionPartOut)
    records = _part(RecordPartOut)
