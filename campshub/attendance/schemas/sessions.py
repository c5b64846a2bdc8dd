"""Schemas of attendance sessions."""

from collections.abc import Mapping
from typing import Any

from marshmallow import fields as ma

from campshub.attendance import slots
from campshub.attendance.models import SESSION_STATUSES
from campshub.core.http.schemas import fields


class Slot(fields.Name):
    """The slot of a meeting on its date: a name, or a time, whose hour is padded to two digits."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **options: Any) -> Any:
        return slots.normalized(super()._deserialize(value, attr, data, **options))


class _AttendanceSession(fields.In):
    """Fields common to creating and changing a session."""

    slot = Slot(
        allow_none=True,
        most=slots.MOST_CHARACTERS,
        metadata={"description": "The slot on the date: the start `HH:MM`, or a name; `9:00` is the same as `09:00`."},
    )
    starts_at = fields.Instant(allow_none=True)
    ends_at = fields.Instant(allow_none=True)
    notes = fields.Note(allow_none=True, most=fields.LONG)


class AttendanceSessionIn(_AttendanceSession):
    """A new session."""

    example = fields.Example(
        id=fields.example_id("session_id"),
        group_id=fields.example_id("group_id"),
        local_date=fields.today,
        slot="09:00",
        status="open",
    )

    id = fields.Id(metadata={"description": "Your own id (UUID version 7), so that a retry is no second session."})
    group_id = fields.Id(load_default=None, allow_none=True, metadata={"description": "None: open gym."})
    local_date = fields.LocalDate(required=True)
    status = fields.Text(one_of=("scheduled", "open"), load_default="scheduled")


class SlotSessionIn(fields.In):
    """The fields of the session of a slot, if it does not exist yet."""

    example = fields.Example(status="open")

    starts_at = fields.Instant(allow_none=True)
    ends_at = fields.Instant(allow_none=True)
    notes = fields.Note(allow_none=True, most=fields.LONG)
    status = fields.Text(one_of=("scheduled", "open"), load_default="scheduled")


class AttendanceSessionPatch(_AttendanceSession):
    """Changes of a session; omitted fields stay as they are."""

    example = fields.Example(notes="In the small hall.")

    local_date = fields.LocalDate()
    status = fields.Text(one_of=("scheduled", "open", "cancelled"))


class SessionCancelIn(fields.In):
    """Why a session is cancelled."""

    example = fields.Example(reason="The hall is closed.")

    reason = fields.Name(required=True, most=fields.LONG)


class SessionMoveIn(fields.In):
    """Where a session moves to, and why; without times it keeps its local times."""

    example = fields.Example(local_date=fields.today, slot="17:00", reason="The hall is closed in the morning.")

    local_date = fields.LocalDate()
    slot = Slot(allow_none=True, most=slots.MOST_CHARACTERS)
    starts_at = fields.Instant(allow_none=True)
    ends_at = fields.Instant(allow_none=True)
    reason = fields.Name(required=True, most=fields.LONG)


class SessionSubstituteIn(fields.In):
    """A substitute for one session."""

    example = fields.Example(trainer_id=fields.example_id("trainer_id"))

    trainer_id = fields.Id(required=True)


class AttendanceSessionOut(fields.Out):
    """A session."""

    id = fields.Id(required=True)
    group_id = fields.Id(required=True, allow_none=True)
    local_date = ma.Date(required=True)
    slot = fields.Text(required=True, allow_none=True)
    starts_at = ma.AwareDateTime(required=True, allow_none=True)
    ends_at = ma.AwareDateTime(required=True, allow_none=True)
    status = fields.Text(required=True, one_of=SESSION_STATUSES)
    notes = fields.Text(required=True, allow_none=True)
    submitted_at = ma.AwareDateTime(required=True, allow_none=True)
    submitted_by = fields.Id(required=True, allow_none=True)
    locked_at = ma.AwareDateTime(required=True, allow_none=True)
    meeting_id = fields.Id(
        required=True, allow_none=True, metadata={"description": "The weekly meeting that it was created from."}
    )
    planned_on = ma.Date(
        required=True, allow_none=True, metadata={"description": "The date on which the weekly meeting planned it."}
    )
    reason = fields.Text(required=True, allow_none=True, metadata={"description": "Why it was cancelled or moved."})
    created_at = ma.AwareDateTime(required=True)
    updated_at = ma.AwareDateTime(required=True)
    version = ma.Integer(required=True)


class GroupSessionFilter(fields.Filter):
    """Filters of a group's sessions."""

    first_date = fields.LocalDate(data_key="from", load_default=None)
    last_date = fields.LocalDate(data_key="to", load_default=None)
    status = fields.Text(load_default=None, one_of=SESSION_STATUSES)
    updated_from = fields.UpdatedFrom()


class AttendanceSessionFilter(GroupSessionFilter):
    """Filters of sessions."""

    group_id = fields.Id(load_default=None)
