"""The endpoints of calendars, their terms and their holidays."""

from typing import Any
from uuid import UUID

from campshub.core.errors import IdTaken, NotFound
from campshub.core.http.decorators import cached, needs
from campshub.core.http.routing import Blueprint, Resource
from campshub.core.security.permissions import Permission
from campshub.timetables.models import CalendarHoliday, CalendarTerm
from campshub.timetables.queries import calendars as queries
from campshub.timetables.schemas import calendars as schemas
from campshub.timetables.service import calendars as service

calendars = Blueprint(
    "calendars", __name__, url_prefix="/api/calendars", description="Terms and holidays that groups follow."
)

_TAGS = ("timetables",)
_UNFIT = (service.DaysReversed,)


@calendars.route("/")
class Calendars(Resource):
    """All calendars."""

    @needs(Permission.GROUPS_READ)
    @cached(tags=("timetables", "groups", "enrolments", "students"), same_for_role=True)
    @calendars.query(schemas.CalendarFilter)
    @calendars.answers_page(schemas.CalendarOut, sorts=("name",))
    def get(self, *, group_id: UUID | None, page: Any) -> Any:
        """List calendars by name."""
        return queries.list_calendars(self.session, self.principal, group_id=group_id, page=page)

    @needs(Permission.GROUPS_WRITE)
    @calendars.body(schemas.CalendarIn)
    @calendars.answers(schemas.CalendarOut, status=201, raises=(IdTaken, service.CalendarNameTaken))
    def post(self, **given: Any) -> Any:
        """Create a calendar."""
        calendar, is_new = service.create(self.session, self.principal, **given)
        return calendar, 201 if is_new else 200


@calendars.route("/<uuid:calendar_id>/")
class OneCalendar(Resource):
    """One calendar."""

    @needs(Permission.GROUPS_READ)
    @cached(tags=_TAGS, same_for_role=True)
    @calendars.answers(schemas.CalendarOut)
    def get(self, calendar_id: UUID) -> Any:
        """Show a calendar."""
        return queries.get_calendar(self.session, self.principal, calendar_id)

    @needs(Permission.GROUPS_WRITE)
    @calendars.body(schemas.CalendarPatch)
    @calendars.answers(schemas.CalendarOut, raises=(service.CalendarNameTaken,))
    def patch(self, calendar_id: UUID, **changes: Any) -> Any:
        """Change a calendar."""
        return service.change(self.session, self.principal, calendar_id=calendar_id, expected=self.if_match, **changes)

    @needs(Permission.GROUPS_WRITE)
    @calendars.answers(None, raises=(service.CalendarInUse,))
    def delete(self, calendar_id: UUID) -> None:
        """Delete a calendar that no group follows, with its terms and holidays."""
        service.delete_calendar(self.session, self.principal, calendar_id=calendar_id, expected=self.if_match)


@calendars.route("/<uuid:calendar_id>/terms/")
class CalendarTerms(Resource):
    """The terms of a calendar."""

    @needs(Permission.GROUPS_READ)
    @cached(tags=_TAGS, same_for_role=True)
    @calendars.query(schemas.CalendarDaysFilter)
    @calendars.answers_page(schemas.CalendarTermOut, sorts=("first_date",))
    def get(self, calendar_id: UUID, *, page: Any, **days: Any) -> Any:
        """List the terms of a calendar by first date."""
        return queries.list_parts(self.session, self.principal, CalendarTerm, calendar_id, page=page, **days)

    @needs(Permission.GROUPS_WRITE)
    @calendars.body(schemas.CalendarTermIn)
    @calendars.answers(schemas.CalendarTermOut, status=201, raises=(NotFound, IdTaken, *_UNFIT))
    def post(self, calendar_id: UUID, **given: Any) -> Any:
        """Add a term; a job applies it to the sessions of the groups."""
        term, is_new = service.add_part(self.session, self.principal, CalendarTerm, calendar_id=calendar_id, **given)
        return term, 201 if is_new else 200


@calendars.route("/<uuid:calendar_id>/terms/<uuid:term_id>/")
class OneCalendarTerm(Resource):
    """One term."""

    @needs(Permission.GROUPS_READ)
    @cached(tags=_TAGS, same_for_role=True)
    @calendars.answers(schemas.CalendarTermOut)
    def get(self, calendar_id: UUID, term_id: UUID) -> Any:
        """Show a term."""
        return queries.get_part(self.session, self.principal, CalendarTerm, calendar_id, term_id)

    @needs(Permission.GROUPS_WRITE)
    @calendars.body(schemas.CalendarTermPatch)
    @calendars.answers(schemas.CalendarTermOut, raises=_UNFIT)
    def patch(self, calendar_id: UUID, term_id: UUID, **changes: Any) -> Any:
        """Change a term; a job applies it to the sessions of the groups."""
        given: dict[str, Any] = {"calendar_id": calendar_id, "part_id": term_id, "expected": self.if_match}
        return service.change_part(self.session, self.principal, CalendarTerm, **given, **changes)

    @needs(Permission.GROUPS_WRITE)
    @calendars.answers(None)
    def delete(self, calendar_id: UUID, term_id: UUID) -> None:
        """Remove a term; a job applies it to the sessions of the groups."""
        given: dict[str, Any] = {"calendar_id": calendar_id, "part_id": term_id, "expected": self.if_match}
        service.remove(self.session, self.principal, CalendarTerm, **given)


@calendars.route("/<uuid:calendar_id>/holidays/")
class CalendarHolidays(Resource):
    """The holidays of a calendar."""

    @needs(Permission.GROUPS_READ)
    @cached(tags=_TAGS, same_for_role=True)
    @calendars.query(schemas.CalendarDaysFilter)
    @calendars.answers_page(schemas.CalendarHolidayOut, sorts=("first_date",))
    def get(self, calendar_id: UUID, *, page: Any, **days: Any) -> Any:
        """List the holidays of a calendar by first date."""
        return queries.list_parts(self.session, self.principal, CalendarHoliday, calendar_id, page=page, **days)

    @needs(Permission.GROUPS_WRITE)
    @calendars.body(schemas.CalendarHolidayIn)
    @calendars.answers(schemas.CalendarHolidayOut, status=201, raises=(NotFound, IdTaken, *_UNFIT))
    def post(self, calendar_id: UUID, **given: Any) -> Any:
        """Add a holiday; a job applies it to the sessions of the groups."""
        holiday, is_new = service.add_part(
            self.session, self.principal, CalendarHoliday, calendar_id=calendar_id, **given
        )
        return holiday, 201 if is_new else 200


@calendars.route("/<uuid:calendar_id>/holidays/<uuid:holiday_id>/")
class OneCalendarHoliday(Resource):
    """One holiday."""

    @needs(Permission.GROUPS_READ)
    @cached(tags=_TAGS, same_for_role=True)
    @calendars.answers(schemas.CalendarHolidayOut)
    def get(self, calendar_id: UUID, holiday_id: UUID) -> Any:
        """Show a holiday."""
        return queries.get_part(self.session, self.principal, CalendarHoliday, calendar_id, holiday_id)

    @needs(Permission.GROUPS_WRITE)
    @calendars.body(schemas.CalendarHolidayPatch)
    @calendars.answers(schemas.CalendarHolidayOut, raises=_UNFIT)
    def patch(self, calendar_id: UUID, holiday_id: UUID, **changes: Any) -> Any:
        """Change a holiday; a job applies it to the sessions of the groups."""
        given: dict[str, Any] = {"calendar_id": calendar_id, "part_id": holiday_id, "expected": self.if_match}
        return service.change_part(self.session, self.principal, CalendarHoliday, **given, **changes)

    @needs(Permission.GROUPS_WRITE)
    @calendars.answers(None)
    def delete(self, calendar_id: UUID, holiday_id: UUID) -> None:
        """Remove a holiday; a job applies it to the sessions of the groups."""
        given: dict[str, Any] = {"calendar_id": calendar_id, "part_id": holiday_id, "expected": self.if_match}
        service.remove(self.session, self.principal, CalendarHoliday, **given)
