"""The addresses of progress."""

from typing import Any

from campshub.core.http.decorators import CacheLifetime, cached, named, needs
from campshub.core.http.routing import Blueprint, Resource
from campshub.core.security.permissions import Permission
from campshub.workouts.queries import rollups as queries
from campshub.workouts.schemas import progress as schemas

progress = Blueprint("progress", __name__, url_prefix="/api/progress", description="Aggregates of training.")


@progress.route("/weeks/")
class Weeks(Resource):
    """Training by week."""

    @needs(Permission.WORKOUTS_READ)
    @named("listTrainingWeeks")
    @cached(
        tags=("workouts", "exercises", "groups", "enrolments", "students", "access"),
        lifetime=CacheLifetime.ANALYTICS,
        same_for_role=True,
    )
    @progress.query(schemas.WeekFilter)
    @progress.answers_page(schemas.WeekOut, sorts=("week",))
    def get(self, *, page: Any, **filters: Any) -> Any:
        """List aggregates of sets by week, person and exercise."""
        return queries.list_weeks(self.session, self.principal, now=self.now, page=page, **filters)
