"""The endpoints of muscles and exercises."""

from typing import Any
from uuid import UUID

from campshub.core.errors import Deleted, IdTaken, NotFound
from campshub.core.http.decorators import cached, needs
from campshub.core.http.routing import Blueprint, Resource
from campshub.core.security.permissions import Permission
from campshub.workouts.queries import exercises as queries
from campshub.workouts.schemas import exercises as schemas
from campshub.workouts.service import exercises as service

muscles = Blueprint("muscles", __name__, url_prefix="/api/muscles", description="Muscles by which training is counted.")
exercises = Blueprint(
    "exercises", __name__, url_prefix="/api/exercises", description="Public exercises, the organization's and your own."
)

_REFUSALS = (service.ExerciseNameTaken, service.MuscleRepeated, service.OrganizationsExercise)


@muscles.route("/")
class Muscles(Resource):
    """All muscles."""

    @needs(Permission.EXERCISES_READ)
    @cached(tags=("exercises",), same_for_role=True)
    @muscles.answers_page(schemas.MuscleOut, sorts=("name", "key"))
    def get(self, *, page: Any) -> Any:
        """List muscles."""
        return queries.list_muscles(self.session, self.principal, page=page)


@exercises.route("/")
class Exercises(Resource):
    """All exercises that the caller may use."""

    @needs(Permission.EXERCISES_READ)
    @cached(tags=("exercises",))
    @exercises.query(schemas.ExerciseFilter)
    @exercises.answers_page(schemas.ExerciseOut, sorts=("name", "created"))
    def get(self, *, page: Any, **filters: Any) -> Any:
        """List public exercises, the organization's and your own; deleted ones if you may undelete them."""
        self.require(Permission.WORKOUTS_WRITE, only_if=filters["deleted"])
        if filters["deleted"] and not self.principal.may(Permission.EXERCISES_WRITE):
            filters["mine"] = True  # only others may undelete the organization's
        return queries.list_exercises(self.session, self.principal, page=page, **filters)

    # Users who may log may create their own exercises; the service requires exercises:write for the organization's.
    @needs(Permission.WORKOUTS_WRITE)
    @exercises.body(schemas.ExerciseIn)
    @exercises.answers(
        schemas.ExerciseOut, status=201, raises=(IdTaken, Deleted, service.ReservedExerciseId, *_REFUSALS)
    )
    def post(self, **given: Any) -> Any:
        """Create an exercise for the organization, or a private one."""
        exercise, made = service.create(self.session, self.principal, now=self.now, **given)
        return exercise, 201 if made else 200


@exercises.route("/<uuid:exercise_id>/")
class OneExercise(Resource):
    """One exercise."""

    @needs(Permission.EXERCISES_READ)
    @cached(tags=("exercises",))
    @exercises.answers(schemas.ExerciseOut)
    def get(self, exercise_id: UUID) -> Any:
        """Show an exercise."""
        return queries.get_exercise(self.session, self.principal, exercise_id)

    @needs(Permission.WORKOUTS_WRITE)
    @exercises.body(schemas.ExercisePatch)
    @exercises.answers(schemas.ExerciseOut, raises=(NotFound, *_REFUSALS))
    def patch(self, exercise_id: UUID, **changes: Any) -> Any:
        """Change an exercise of the organization or your own."""
        return service.change(
            self.session, self.principal, exercise_id=exercise_id, expected=self.if_match, now=self.now, **changes
        )

    @needs(Permission.WORKOUTS_WRITE)
    @exercises.answers(None, raises=(NotFound, service.OrganizationsExercise))
    def delete(self, exercise_id: UUID) -> None:
        """Delete an exercise; logs still show it, and it can be undeleted."""
        service.delete(self.session, self.principal, exercise_id=exercise_id, expected=self.if_match, now=self.now)


@exercises.route("/<uuid:exercise_id>/undelete/")
class ExerciseUndelete(Resource):
    """Undeleting an exercise."""

    @needs(Permission.WORKOUTS_WRITE)
    @exercises.answers(schemas.ExerciseOut, raises=(NotFound, *_REFUSALS))
    def post(self, exercise_id: UUID) -> Any:
        """Undelete an exercise."""
        return service.undelete(self.session, self.principal, exercise_id=exercise_id)
