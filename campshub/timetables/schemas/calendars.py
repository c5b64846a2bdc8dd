"""Schemas of calendars, terms and holidays."""

from marshmallow import fields as ma

from campshub.core.http.schemas import fields


class CalendarIn(fields.In):
    """A new calendar."""

    example = fields.Example(id=fields.example_id("calendar_id"), name="School year 2026/27")

    id = fields.Id(metadata={"description": "Your own id (UUID version 7), so that a retry is no second calendar."})
    name = fields.Name(required=True)


class CalendarPatch(fields.In):
    """Changes of a calendar."""

    example = fields.Example(name="School year 2026/2027")

    name = fields.Name()


class CalendarFilter(fields.Filter):
    """Filters of calendars."""

    group_id = fields.Id(load_default=None, metadata={"description": "Only the one that this group follows."})


class CalendarOut(fields.Out):
    """A calendar."""

    id = fields.Id(required=True)
    name = fields.Text(required=True)
    created_at = ma.AwareDateTime(required=True)
    updated_at = ma.AwareDateTime(required=True)
    version = ma.Integer(required=True)


class _PartIn(fields.In):
    """Fields of a new term or holiday."""

    id = fields.Id(metadata={"description": "Your own id (UUID version 7), so that a retry adds nothing twice."})
    name = fields.Name(required=True)
    first_date = fields.LocalDate(required=True)


class CalendarTermIn(_PartIn):
    """A new term. Meetings outside of the terms of a calendar are left out, unless it has none."""

    example = fields.Example(
        id=fields.example_id("term_id"), name="Summer term", first_date="2026-01-01", last_date="2199-12-31"
    )

    last_date = fields.LocalDate(required=True)


class CalendarHolidayIn(_PartIn):
    """A new holiday."""

    example = fields.Example(id=fields.example_id("holiday_id"), name="Republic Day", first_date="2027-01-26")

    last_date = fields.LocalDate(
        load_default=None, allow_none=True, metadata={"description": "Without it, the holiday is one day."}
    )


class CalendarTermPatch(fields.In):
    """Changes of a term; omitted fields stay as they are."""

    example = fields.Example(name="Summer")

    name = fields.Name()
    first_date = fields.LocalDate()
    last_date = fields.LocalDate()


class CalendarHolidayPatch(CalendarTermPatch):
    """Changes of a holiday; omitted fields stay as they are."""

    example = fields.Example(last_date="2027-01-27")


class CalendarDaysFilter(fields.Filter):
    """Filters of terms and holidays."""

    first_date = fields.LocalDate(
        data_key="from", load_default=None, metadata={"description": "Those that end on this date or later."}
    )
    last_date = fields.LocalDate(
        data_key="to", load_default=None, metadata={"description": "Those that begin on this date or before."}
    )


class CalendarTermOut(fields.Out):
    """A term of a calendar."""

    id = fields.Id(required=True)
    calendar_id = fields.Id(required=True)
    name = fields.Text(required=True)
    first_date = ma.Date(required=True)
    last_date = ma.Date(required=True)
    created_at = ma.AwareDateTime(required=True)
    updated_at = ma.AwareDateTime(required=True)
    version = ma.Integer(required=True)


class CalendarHolidayOut(CalendarTermOut):
    """A holiday of a calendar."""


class GroupCalendarIn(fields.In):
    """The calendar that a group follows."""

    example = fields.Example(calendar_id=fields.example_id("calendar_id"))

    calendar_id = fields.Id(required=True, allow_none=True, metadata={"description": "null: none."})


class GroupCalendarOut(fields.Out):
    """The calendar that a group follows."""

    group_id = fields.Id(required=True)
    calendar_id = fields.Id(required=True, allow_none=True)
    calendar_name = fields.Text(required=True, allow_none=True)
    version = ma.Integer(required=True, allow_none=True, metadata={"description": "null: it follows none."})
