"""Schemas of weekly meetings and timetables."""

from typing import Any

from marshmallow import fields as ma
from marshmallow import validate

from campshub.attendance.models import SESSION_STATUSES
from campshub.attendance.schemas.sessions import Slot
from campshub.core.http.schemas import fields
from campshub.timetables.models import LOCAL_TIME, WEEKS
from campshub.timetables.schemas.calendars import GroupCalendarOut

_MOST_TRAINERS = 20
_LEFT = ("submitted", "locked", "cancelled", "has_marks", "begun", "changed", "session_exists")
_WEEKS = (
    "`every` week; every `second` week, counted from the week of `anchor_date`; `odd` or `even`: by the number of the"
    " ISO week, so that two odd weeks follow each other after a year of 53 weeks."
)


class LocalTime(fields.Text):
    """A time on the organization's clock, HH:MM."""

    def __init__(self, **options: Any) -> None:
        metadata = {"description": "On the organization's clock, HH:MM.", **(options.pop("metadata", None) or {})}
        super().__init__(most=5, metadata=metadata, **options)
        self.validators.append(validate.Regexp(LOCAL_TIME, error="Must be a time from 00:00 to 23:59."))


class _WeeklyMeeting(fields.In):
    """Fields common to creating and changing a weekly meeting."""

    slot = Slot(most=40, metadata={"description": "The slot of its sessions; without it, the start."})
    weeks = fields.Text(one_of=WEEKS, metadata={"description": _WEEKS})
    anchor_date = fields.LocalDate(metadata={"description": "A date in a week in which it meets."})
    place = fields.Name(allow_none=True)
    trainer_ids = fields.BoundedList(fields.Id(), most=_MOST_TRAINERS)


class WeeklyMeetingIn(_WeeklyMeeting):
    """A new weekly meeting of a group."""

    example = fields.Example(
        id=fields.example_id("meeting_id"),
        weekday=0,
        start_time="17:00",
        end_time="18:30",
        place="Small hall",
        first_date="2026-01-05",
    )

    id = fields.Id(metadata={"description": "Your own id (UUID version 7), so that a retry is no second meeting."})
    weekday = fields.Integer(least=0, most=6, required=True, metadata={"description": "0 is Monday."})
    start_time = LocalTime(required=True)
    end_time = LocalTime(required=True, metadata={"description": "HH:MM; not later than the start: on the next day."})
    first_date = fields.LocalDate(required=True)
    last_date = fields.LocalDate(load_default=None, allow_none=True)


class WeeklyMeetingChange(_WeeklyMeeting):
    """Changes of a weekly meeting from a date on; omitted fields stay as they are."""

    example = fields.Example(from_date="2199-12-31", start_time="17:15", slot="17:15")

    from_date = fields.LocalDate(required=True, metadata={"description": "Today or later."})
    weekday = fields.Integer(least=0, most=6)
    start_time = LocalTime()
    end_time = LocalTime()
    last_date = fields.LocalDate(allow_none=True)


class WeeklyMeetingEnd(fields.In):
    """The end of a weekly meeting."""

    example = fields.Example(from_date="2199-06-30")

    from_date = fields.LocalDate(
        required=True, metadata={"description": "From this date on it does not meet. Today or later."}
    )


class WeeklyMeetingFilter(fields.Filter):
    """Filters of a group's weekly meetings."""

    on = fields.LocalDate(load_default=None, metadata={"description": "Only the versions that are valid on a date."})
    series_id = fields.Id(load_default=None, metadata={"description": "All versions of one meeting."})


class WeeklyMeetingOut(fields.Out):
    """A version of a weekly meeting."""

    id = fields.Id(required=True)
    group_id = fields.Id(required=True)
    series_id = fields.Id(required=True, metadata={"description": "The id of the first version."})
    slot = fields.Text(required=True)
    weekday = ma.Integer(required=True)
    start_time = fields.Text(required=True)
    end_time = fields.Text(required=True)
    weeks = fields.Text(required=True, one_of=WEEKS)
    anchor_date = ma.Date(required=True)
    place = fields.Text(required=True, allow_none=True)
    trainer_ids = ma.List(fields.Id(), required=True)
    first_date = ma.Date(required=True)
    last_date = ma.Date(required=True, allow_none=True, metadata={"description": "Before `first_date`: it never met."})
    created_at = ma.AwareDateTime(required=True)
    updated_at = ma.AwareDateTime(required=True)
    version = ma.Integer(required=True)


class PlannedSessionOut(fields.Out):
    """A session that a plan has created or removed."""

    id = fields.Id(required=True)
    local_date = ma.Date(required=True)
    slot = fields.Text(required=True, allow_none=True)
    starts_at = ma.AwareDateTime(required=True, allow_none=True)
    ends_at = ma.AwareDateTime(required=True, allow_none=True)
    status = fields.Text(required=True, one_of=SESSION_STATUSES)
    meeting_id = fields.Id(required=True)
    planned_on = ma.Date(required=True)


class MovedSessionOut(PlannedSessionOut):
    """A session that follows its meeting."""

    from_date = ma.Date(required=True, metadata={"description": "Its date before."})


class LeftSessionOut(PlannedSessionOut):
    """A session that stays as it is, although the plan has changed."""

    why = fields.Text(
        required=True,
        one_of=_LEFT,
        metadata={"description": "The first reason that applies; `changed`: someone has changed or moved it."},
    )


class PlanEffectsOut(fields.Out):
    """What a change of the plan has done to the group's sessions."""

    created = ma.List(ma.Nested(PlannedSessionOut), required=True)
    moved = ma.List(ma.Nested(MovedSessionOut), required=True)
    removed = ma.List(ma.Nested(PlannedSessionOut), required=True)
    left = ma.List(ma.Nested(LeftSessionOut), required=True)


class WeeklyMeetingChangedOut(fields.Out):
    """The new or ended version of a weekly meeting, and what happened to the sessions."""

    meeting = ma.Nested(WeeklyMeetingOut, required=True)
    effects = ma.Nested(PlanEffectsOut, required=True)


class GroupCalendarChangedOut(GroupCalendarOut):
    """The calendar that a group follows now, and what happened to the sessions."""

    effects = ma.Nested(PlanEffectsOut, required=True)


class TimetableFilter(fields.Filter):
    """The range of dates of a timetable."""

    first_date = fields.LocalDate(data_key="from", load_default=None, metadata={"description": "Default: today."})
    last_date = fields.LocalDate(
        data_key="to", load_default=None, metadata={"description": "Default: two weeks later; at most 100 days."}
    )


class TimetableItemOut(fields.Out):
    """A session, a planned meeting without a session, or a holiday."""

    kind = fields.Text(required=True, one_of=("session", "planned", "holiday"))
    local_date = ma.Date(required=True)
    last_date = ma.Date(required=True, metadata={"description": "The last day of a holiday; else the date itself."})
    slot = fields.Text(required=True, allow_none=True)
    starts_at = ma.AwareDateTime(required=True, allow_none=True)
    ends_at = ma.AwareDateTime(required=True, allow_none=True)
    session_id = fields.Id(required=True, allow_none=True)
    meeting_id = fields.Id(required=True, allow_none=True)
    status = fields.Text(required=True, allow_none=True, metadata={"description": "The status of a session."})
    name = fields.Text(required=True, allow_none=True, metadata={"description": "The name of a holiday."})
    place = fields.Text(required=True, allow_none=True)
    trainer_ids = ma.List(fields.Id(), required=True)
    reason = fields.Text(required=True, allow_none=True)


class TimetableOut(fields.Out):
    """A group's timetable."""

    group_id = fields.Id(required=True)
    first_date = ma.Date(required=True)
    last_date = ma.Date(required=True)
    items = ma.List(ma.Nested(TimetableItemOut), required=True)
