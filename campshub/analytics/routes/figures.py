"""The endpoints of rates, streaks, heat maps and punctuality."""

from typing import Any
from uuid import UUID

from campshub.analytics.queries import patterns, rates
from campshub.analytics.schemas import figures as schemas
from campshub.core.errors import NotFound
from campshub.core.http.decorators import CacheLifetime, cached, needs
from campshub.core.http.routing import Blueprint, Resource
from campshub.core.security.permissions import Permission

figures = Blueprint(
    "attendance_figures",
    __name__,
    url_prefix="/api/attendance/analytics",
    description="Rates, streaks, heat maps and punctuality, of the organization, a group or a student.",
)

# With the scope of groups or of one's own, groups and enrolments decide what is visible.
TAGS = ("attendance", "attendance_sessions", "enrolments", "groups", "students")


@figures.route("/rates/")
class AttendanceRates(Resource):
    """Rates by period."""

    @needs(Permission.ATTENDANCE_READ)
    @cached(tags=TAGS, lifetime=CacheLifetime.ANALYTICS, same_for_role=True)
    @figures.query(schemas.RatesFilter)
    @figures.answers(schemas.RatesOut, raises=(NotFound,))
    def get(self, **filters: Any) -> Any:
        """Show the rate of each day, week or month, and its change against the period before.

        The range is extended to whole periods. With `basis=scheduled` it ends today.
        """
        return rates.list_rates(self.session, self.principal, now=self.now, **filters)


@figures.route("/students/<uuid:student_id>/streaks/")
class AttendanceStreaks(Resource):
    """A student's streaks."""

    @needs(Permission.ATTENDANCE_READ)
    @cached(tags=TAGS, lifetime=CacheLifetime.ANALYTICS, same_for_role=True)
    @figures.query(schemas.StreaksFilter)
    @figures.answers(schemas.StreaksOut, raises=(NotFound,))
    def get(self, student_id: UUID, **dates: Any) -> Any:
        """Show a student's current and longest run of attended sessions, and the sessions missed in a row."""
        return patterns.get_streaks(self.session, self.principal, student_id=student_id, now=self.now, **dates)


@figures.route("/heat-map/")
class AttendanceHeatMap(Resource):
    """Rates by weekday and hour."""

    @needs(Permission.ATTENDANCE_READ)
    @cached(tags=TAGS, lifetime=CacheLifetime.ANALYTICS, same_for_role=True)
    @figures.query(schemas.FiguresFilter)
    @figures.answers(schemas.HeatMapOut, raises=(NotFound,))
    def get(self, **filters: Any) -> Any:
        """Show the rate by weekday and hour in which sessions start, in the organization's time zone."""
        return patterns.get_heat_map(self.session, self.principal, now=self.now, **filters)


@figures.route("/punctuality/")
class AttendancePunctuality(Resource):
    """Who came late."""

    @needs(Permission.ATTENDANCE_READ)
    @cached(tags=TAGS, lifetime=CacheLifetime.ANALYTICS, same_for_role=True)
    @figures.query(schemas.FiguresFilter)
    @figures.answers(schemas.PunctualityOut, raises=(NotFound,))
    def get(self, **filters: Any) -> Any:
        """Show the share of late students, and how many minutes they were late."""
        return patterns.get_punctuality(self.session, self.principal, now=self.now, **filters)
