"""The endpoints of attendance counts."""

from typing import Any
from uuid import UUID

from campshub.attendance.queries import rollups as queries
from campshub.attendance.schemas import analytics as schemas
from campshub.core.errors import NotFound
from campshub.core.http.decorators import CacheLifetime, cached, needs
from campshub.core.http.routing import Blueprint, Resource
from campshub.core.security.permissions import Permission

analytics = Blueprint(
    "attendance_analytics",
    __name__,
    url_prefix="/api/attendance/analytics",
    description="Counts of marks, by group and day, and by student and month.",
)

_TAGS = ("attendance", "groups", "enrolments", "students")


@analytics.route("/groups/")
class GroupDays(Resource):
    """Counts by group and day."""

    @needs(Permission.ATTENDANCE_READ)
    @cached(tags=_TAGS, lifetime=CacheLifetime.ANALYTICS, same_for_role=True)
    @analytics.query(schemas.GroupDayFilter)
    @analytics.answers_page(schemas.GroupDayOut, sorts=("date",))
    def get(self, *, page: Any, **filters: Any) -> Any:
        """List the counts of each group by day; the current month by default."""
        return queries.list_group_days(self.session, self.principal, now=self.now, page=page, **filters)


@analytics.route("/students/<uuid:student_id>/")
class StudentMonths(Resource):
    """A student's counts by month."""

    @needs(Permission.ATTENDANCE_READ)
    @cached(tags=_TAGS, lifetime=CacheLifetime.ANALYTICS, same_for_role=True)
    @analytics.query(schemas.WholeMonthsFilter)
    @analytics.answers_page(schemas.StudentMonthOut, sorts=("month",), raises=(NotFound,))
    def get(self, student_id: UUID, *, page: Any, **period: Any) -> Any:
        """List a student's counts by month; the last twelve months by default."""
        return queries.list_student_months(
            self.session, self.principal, student_id=student_id, now=self.now, page=page, **period
        )
