"""The addresses of what marks add up to."""

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
    description="What marks add up to: by group and day, by student and month.",
)

_TAGS = ("attendance", "groups", "enrolments", "students")


@analytics.route("/groups/")
class GroupDays(Resource):
    """Groups by day."""

    @needs(Permission.ATTENDANCE_READ)
    @cached(tags=_TAGS, life=CacheLifetime.ANALYTICS, same_for_role=True)
    @analytics.query(schemas.GroupDayFilter)
    @analytics.answers_page(schemas.GroupDayOut, sorts=("date",))
    def get(self, *, page: Any, **filters: Any) -> Any:
        """List what the marks of each group add up to, day by day; of the present month where no dates are given."""
        return queries.list_group_days(self.session, self.principal, now=self.now, page=page, **filters)


@analytics.route("/students/<uuid:student_id>/")
class StudentMonths(Resource):
    """A student by month."""

    @needs(Permission.ATTENDANCE_READ)
    @cached(tags=_TAGS, life=CacheLifetime.ANALYTICS, same_for_role=True)
    @analytics.query(schemas.PeriodFilter)
    @analytics.answers_page(schemas.StudentMonthOut, sorts=("month",), raises=(NotFound,))
    def get(self, student_id: UUID, *, page: Any, **period: Any) -> Any:
        """List what a student's marks add up to, month by month; of the last twelve where no dates are given."""
        return queries.list_student_months(
            self.session, self.principal, student_id=student_id, now=self.now, page=page, **period
        )
