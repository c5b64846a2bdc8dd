"""The endpoint of the caller's day."""

from datetime import date
from typing import Any

from campshub.attendance.queries import my_day as queries
from campshub.attendance.schemas import my_day as schemas
from campshub.core.http.decorators import cached, named, needs
from campshub.core.http.routing import Blueprint, Resource
from campshub.core.security.permissions import Permission

my_day = Blueprint("my_day", __name__, url_prefix="/api/me/day", description="The signed-in user's sessions of a date.")


@my_day.route("/")
class MyDay(Resource):
    """The caller's day."""

    @needs(Permission.ATTENDANCE_READ)
    @named("getMyDay")
    @cached(tags=("attendance", "attendance_sessions", "groups", "enrolments", "students"))
    @my_day.query(schemas.DayFilter)
    @my_day.answers(schemas.DayOut)
    def get(self, *, on: date) -> Any:
        """Show your sessions of a date with rosters, marks and counts: of your groups, or as a student your own."""
        return queries.my_day(self.session, self.principal, on=on)
