"""The endpoints of rates, streaks, heat maps and punctuality, and of their charts."""

from io import BytesIO
from typing import Any
from uuid import UUID

from campshub.analytics import charts
from campshub.analytics.queries import patterns, rates
from campshub.analytics.schemas import figures as schemas
from campshub.core.charts import Chart, as_layers, as_svg
from campshub.core.errors import NotFound
from campshub.core.http.decorators import CacheLifetime, cached, limited, named, needs
from campshub.core.http.responses import Download
from campshub.core.http.routing import Blueprint, Resource
from campshub.core.security.permissions import Permission
from campshub.core.typesetting.process import png_of

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


class _ChartResource(Resource):
    """A resource that sends charts."""

    def rates_chart(self, *, group_id: UUID | None, student_id: UUID | None, **filters: Any) -> Chart:
        """Return the chart of the same data as the rates."""
        of: dict[str, Any] = {"group_id": group_id, "student_id": student_id}
        subject = rates.get_subject(self.session, self.principal, **of)
        return charts.of_rates(rates.list_rates(self.session, self.principal, now=self.now, **of, **filters), subject)

    def heat_map_chart(self, *, group_id: UUID | None, student_id: UUID | None, **dates: Any) -> Chart:
        """Return the chart of the same data as the heat map."""
        of: dict[str, Any] = {"group_id": group_id, "student_id": student_id}
        subject = rates.get_subject(self.session, self.principal, **of)
        found = patterns.get_heat_map(self.session, self.principal, now=self.now, **of, **dates)
        return charts.of_heat_map(found, subject)

    def svg(self, chart: Chart, name: str) -> Download:
        """Return a chart as a file in SVG."""
        content = as_svg(chart).encode()
        return Download(BytesIO(content), charts.SVG, f"{name}.svg", len(content))

    def png(self, chart: Chart, name: str) -> Download:
        """Return a chart as a file in PNG, which a child process draws; the connection does not wait for it."""
        self.session.release()
        content = png_of(as_layers(chart), fonts=self.services.settings.report_fonts, locale="en")
        return Download(BytesIO(content), charts.PNG, f"{name}.png", len(content))


@figures.route("/rates/svg/")
class RatesSvg(_ChartResource):
    """The chart of rates, as SVG."""

    @needs(Permission.ATTENDANCE_READ)
    @named("getAttendanceRatesSvg")
    @figures.query(schemas.RatesFilter)
    @figures.answers_file(charts.SVG, raises=(NotFound,))
    def get(self, **filters: Any) -> Any:
        """Draw the rate of each period as a line, with a title and a description for screen readers."""
        return self.svg(self.rates_chart(**filters), "rates")


@figures.route("/rates/png/")
class RatesPng(_ChartResource):
    """The chart of rates, as PNG."""

    @needs(Permission.ATTENDANCE_READ)
    @named("getAttendanceRatesPng")
    @limited("generation")
    @figures.query(schemas.RatesFilter)
    @figures.answers_file(charts.PNG, raises=(NotFound,))
    def get(self, **filters: Any) -> Any:
        """Draw the rate of each period as a line, 1,440 pixels wide."""
        return self.png(self.rates_chart(**filters), "rates")


@figures.route("/heat-map/svg/")
class HeatMapSvg(_ChartResource):
    """The heat map, as SVG."""

    @needs(Permission.ATTENDANCE_READ)
    @named("getAttendanceHeatMapSvg")
    @figures.query(schemas.FiguresFilter)
    @figures.answers_file(charts.SVG, raises=(NotFound,))
    def get(self, **filters: Any) -> Any:
        """Draw the rate by weekday and hour, with a title and a description for screen readers."""
        return self.svg(self.heat_map_chart(**filters), "heat-map")


@figures.route("/heat-map/png/")
class HeatMapPng(_ChartResource):
    """The heat map, as PNG."""

    @needs(Permission.ATTENDANCE_READ)
    @named("getAttendanceHeatMapPng")
    @limited("generation")
    @figures.query(schemas.FiguresFilter)
    @figures.answers_file(charts.PNG, raises=(NotFound,))
    def get(self, **filters: Any) -> Any:
        """Draw the rate by weekday and hour, 1,440 pixels wide."""
        return self.png(self.heat_map_chart(**filters), "heat-map")
