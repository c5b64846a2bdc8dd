"""The endpoints of a group's calendar, weekly meetings and timetable."""

from datetime import date, timedelta
from typing import Any
from uuid import UUID

from campshub.core.errors import IdTaken, NotFound, PreconditionFailed, UnknownReference
from campshub.core.http.decorators import cached, named, needs
from campshub.core.http.routing import Blueprint, Resource
from campshub.core.security.permissions import Permission
from campshub.students.service.places import GroupClosed
from campshub.timetables.queries import calendars as calendar_queries
from campshub.timetables.queries import meetings as queries
from campshub.timetables.queries import timetable
from campshub.timetables.schemas import calendars as calendar_schemas
from campshub.timetables.schemas import meetings as schemas
from campshub.timetables.service import calendars as calendar_service
from campshub.timetables.service import meetings as service

group_timetables = Blueprint(
    "group_timetables", __name__, url_prefix="/api/groups", description="Weekly meetings and timetables of groups."
)

_TAGS = ("timetables", "groups", "enrolments", "students")
_USUAL_DAYS = timedelta(days=14)
_UNFIT = (service.SlotTaken, service.NoLength, service.LastBeforeFirst, UnknownReference)
_STATES = (NotFound, PreconditionFailed, service.FromInPast, service.MeetingEnded)


@group_timetables.route("/<uuid:group_id>/meetings/")
class WeeklyMeetings(Resource):
    """A group's weekly meetings."""

    @needs(Permission.GROUPS_READ)
    @cached(tags=_TAGS, same_for_role=True)
    @group_timetables.query(schemas.WeeklyMeetingFilter)
    @group_timetables.answers_page(schemas.WeeklyMeetingOut, sorts=("weekday",))
    def get(self, group_id: UUID, *, page: Any, **filters: Any) -> Any:
        """List a group's weekly meetings by weekday and time, with former and future versions."""
        return queries.list_meetings(self.session, self.principal, group_id, page=page, **filters)

    @needs(Permission.GROUPS_WRITE)
    @group_timetables.body(schemas.WeeklyMeetingIn)
    @group_timetables.answers(schemas.WeeklyMeetingOut, status=201, raises=(NotFound, IdTaken, GroupClosed, *_UNFIT))
    def post(self, group_id: UUID, **given: Any) -> Any:
        """Create a weekly meeting, and its sessions of the coming days."""
        meeting, is_new = service.create(self.session, self.principal, group_id=group_id, now=self.now, **given)
        return meeting, 201 if is_new else 200


@group_timetables.route("/<uuid:group_id>/meetings/<uuid:meeting_id>/")
class OneWeeklyMeeting(Resource):
    """One version of a weekly meeting."""

    @needs(Permission.GROUPS_READ)
    @cached(tags=_TAGS, same_for_role=True)
    @group_timetables.answers(schemas.WeeklyMeetingOut)
    def get(self, group_id: UUID, meeting_id: UUID) -> Any:
        """Show a version of a weekly meeting."""
        return queries.get_meeting(self.session, self.principal, group_id, meeting_id)


@group_timetables.route("/<uuid:group_id>/meetings/<uuid:meeting_id>/change/")
class WeeklyMeetingChanging(Resource):
    """Changing a weekly meeting."""

    @needs(Permission.GROUPS_WRITE)
    @named("changeWeeklyMeeting")
    @group_timetables.body(schemas.WeeklyMeetingChange)
    @group_timetables.answers(schemas.WeeklyMeetingChangedOut, raises=(GroupClosed, *_STATES, *_UNFIT))
    def post(self, group_id: UUID, meeting_id: UUID, **changes: Any) -> Any:
        """Change a weekly meeting from a date on; its future sessions without marks follow."""
        given: dict[str, Any] = {
            "group_id": group_id,
            "meeting_id": meeting_id,
            "expected": self.if_match,
            "now": self.now,
        }
        return service.change(self.session, self.principal, **given, **changes)


@group_timetables.route("/<uuid:group_id>/meetings/<uuid:meeting_id>/end/")
class WeeklyMeetingEnding(Resource):
    """Ending a weekly meeting."""

    @needs(Permission.GROUPS_WRITE)
    @named("endWeeklyMeeting")
    @group_timetables.body(schemas.WeeklyMeetingEnd)
    @group_timetables.answers(schemas.WeeklyMeetingChangedOut, raises=_STATES)
    def post(self, group_id: UUID, meeting_id: UUID, *, from_date: date) -> Any:
        """End a weekly meeting; its future sessions without marks are removed."""
        given: dict[str, Any] = {
            "group_id": group_id,
            "meeting_id": meeting_id,
            "expected": self.if_match,
            "now": self.now,
        }
        return service.end(self.session, self.principal, from_date=from_date, **given)


@group_timetables.route("/<uuid:group_id>/calendar/")
class CalendarOfGroup(Resource):
    """The calendar that a group follows."""

    @needs(Permission.GROUPS_READ)
    @named("getGroupCalendar")
    @cached(tags=_TAGS, same_for_role=True)
    @group_timetables.answers(calendar_schemas.GroupCalendarOut)
    def get(self, group_id: UUID) -> Any:
        """Show the calendar that a group follows."""
        return calendar_queries.followed_by(self.session, self.principal, group_id)

    @needs(Permission.GROUPS_WRITE)
    @named("setGroupCalendar")
    @group_timetables.body(calendar_schemas.GroupCalendarIn)
    @group_timetables.answers(schemas.GroupCalendarChangedOut, raises=(NotFound, UnknownReference))
    def put(self, group_id: UUID, *, calendar_id: UUID | None) -> Any:
        """Let a group follow a calendar, or none; its future sessions without marks follow."""
        given: dict[str, Any] = {"group_id": group_id, "calendar_id": calendar_id, "expected": self.if_match}
        effects = calendar_service.follow(self.session, self.principal, **given)
        followed = calendar_queries.followed_by(self.session, self.principal, group_id)
        return {**followed._mapping, "effects": effects}  # noqa: SLF001 - SQLAlchemy's public name for it


@group_timetables.route("/<uuid:group_id>/timetable/")
class GroupTimetable(Resource):
    """A group's timetable."""

    @needs(Permission.ATTENDANCE_READ)
    @named("getGroupTimetable")
    @cached(tags=("attendance_sessions", *_TAGS), same_for_role=True)
    @group_timetables.query(schemas.TimetableFilter)
    @group_timetables.answers(schemas.TimetableOut)
    def get(self, group_id: UUID, *, first_date: date | None, last_date: date | None) -> Any:
        """Show a group's sessions, planned meetings and holidays in one list."""
        first_date = first_date or self.today
        days: dict[str, Any] = {"first_date": first_date, "last_date": last_date or first_date + _USUAL_DAYS}
        return timetable.show(self.session, self.principal, group_id, **days)
