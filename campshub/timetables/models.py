"""Calendars with terms and holidays, the groups that follow them, and the weekly meetings of groups."""

import uuid
from datetime import date

from sqlalchemy import ARRAY, CheckConstraint, Uuid, text
from sqlalchemy.dialects.postgresql import ExcludeConstraint
from sqlalchemy.orm import Mapped, mapped_column

from campshub.core.db.models import (
    KEY,
    CreatedByClient,
    TenantBase,
    tenant_foreign_key,
    tenant_index,
    tenant_unique,
)

WEEKS = ("every", "second", "odd", "even")
LOCAL_TIME = "^([01][0-9]|2[0-3]):[0-5][0-9]$"
# A version that was replaced before its first day has no days: its last day is the day before its first.
VALID_DAYS = "daterange(first_date, last_date + 1)"


class Calendar(TenantBase, CreatedByClient):
    """A calendar of the organization, which groups follow: its terms and holidays."""

    __tablename__ = "calendars"
    __tag__ = "timetables"
    __table_args__ = (tenant_unique("sort_name"),)

    name: Mapped[str]
    sort_name: Mapped[str] = mapped_column(KEY)  # the folded sort key


class CalendarTerm(TenantBase, CreatedByClient):
    """A term of a calendar. Both dates are included."""

    __tablename__ = "calendar_terms"
    __tag__ = "timetables"
    __table_args__ = (
        tenant_foreign_key("calendar_id", "calendars"),
        CheckConstraint("last_date >= first_date", name="last_after_first"),
        tenant_index("calendar_id", "first_date", "id"),
    )

    calendar_id: Mapped[uuid.UUID]
    name: Mapped[str]
    first_date: Mapped[date]
    last_date: Mapped[date]


class CalendarHoliday(TenantBase, CreatedByClient):
    """A holiday of a calendar: one day or several. Both dates are included."""

    __tablename__ = "calendar_holidays"
    __tag__ = "timetables"
    __table_args__ = (
        tenant_foreign_key("calendar_id", "calendars"),
        CheckConstraint("last_date >= first_date", name="last_after_first"),
        tenant_index("calendar_id", "first_date", "id"),
    )

    calendar_id: Mapped[uuid.UUID]
    name: Mapped[str]
    first_date: Mapped[date]
    last_date: Mapped[date]


class GroupCalendar(TenantBase):
    """The calendar that a group follows; the row has the group's id."""

    __tablename__ = "group_calendars"
    __tag__ = "timetables"
    __table_args__ = (
        tenant_foreign_key("id", "groups"),
        tenant_foreign_key("calendar_id", "calendars"),
        tenant_index("calendar_id"),
    )

    calendar_id: Mapped[uuid.UUID]


class WeeklyMeeting(TenantBase, CreatedByClient):
    """A version of a group's weekly meeting: weekday, local times and slot, from a first to a last date.

    The versions of one meeting share a ``series_id``, the id of the first one. Only the last date of a version changes:
    any other change makes a new version.
    """

    __tablename__ = "weekly_meetings"
    __tag__ = "timetables"
    __table_args__ = (
        tenant_foreign_key("group_id", "groups"),
        CheckConstraint("weekday BETWEEN 0 AND 6", name="weekday"),
        CheckConstraint(f"start_time ~ '{LOCAL_TIME}' AND end_time ~ '{LOCAL_TIME}'", name="local_times"),
        CheckConstraint("start_time <> end_time", name="has_a_length"),
        CheckConstraint(f"weeks IN {WEEKS}", name="weeks"),
        CheckConstraint("last_date >= first_date - 1", name="last_after_first"),
        # A slot names one meeting of a group on a weekday.
        ExcludeConstraint(
            ("organization_id", "="),
            ("group_id", "="),
            ("weekday", "="),
            ("slot", "="),
            (text(VALID_DAYS), "&&"),
            using="gist",
            name="ex_weekly_meetings_slot",
        ),
        tenant_index("group_id", "weekday", "start_time", "id"),
        tenant_index("series_id"),
    )

    group_id: Mapped[uuid.UUID]
    series_id: Mapped[uuid.UUID]
    slot: Mapped[str]
    weekday: Mapped[int]  # Monday is 0
    start_time: Mapped[str]  # local time HH:MM
    end_time: Mapped[str]  # local time HH:MM; not later than the start: on the next day
    weeks: Mapped[str] = mapped_column(default="every", server_default="every")
    # The week of this date is the first of "every second week"; later versions keep it.
    anchor_date: Mapped[date]
    place: Mapped[str | None]
    trainer_ids: Mapped[list[uuid.UUID]] = mapped_column(ARRAY(Uuid), default=list, server_default=text("'{}'"))
    first_date: Mapped[date]
    last_date: Mapped[date | None]
