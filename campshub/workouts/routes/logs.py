"""The endpoints of workout logs and their sets."""

from typing import Any
from uuid import UUID

from campshub.core.errors import Deleted, IdTaken, MonthUnavailable, NotFound
from campshub.core.http.decorators import cached, needs
from campshub.core.http.routing import Blueprint, Resource
from campshub.core.security.permissions import Permission
from campshub.workouts.queries import logs as queries
from campshub.workouts.schemas import logs as schemas
from campshub.workouts.schemas import sets as set_schemas
from campshub.workouts.service import logs as service
from campshub.workouts.service import problems
from campshub.workouts.service import sets as set_service

workout_logs = Blueprint("workout_logs", __name__, url_prefix="/api/workout-logs", description="Logs of workouts.")
student_workouts = Blueprint(
    "student_workouts", __name__, url_prefix="/api/students", description="A student's training."
)

_NEW_LOG = (
    IdTaken,
    Deleted,
    problems.LogExternalIdTaken,
    problems.UnknownStudent,
    problems.NoStudent,
    problems.UnknownExercise,
    problems.LogDateOutOfRange,
    problems.EndedBeforeStart,
    MonthUnavailable,
)
_NEW_SET = (NotFound, MonthUnavailable, IdTaken, Deleted, problems.UnknownExercise, problems.UnknownLoggedExercise)


@workout_logs.route("/")
class WorkoutLogs(Resource):
    """All logs that the caller sees."""

    @needs(Permission.WORKOUTS_READ)
    @cached(tags=("workouts", "exercises", "groups", "enrolments", "students", "access"))
    @workout_logs.query(schemas.WorkoutLogFilter)
    @workout_logs.answers_page(schemas.LogHeaderOut, sorts=("-date",))
    def get(self, *, page: Any, **filters: Any) -> Any:
        """List logs without their sets, newest first; deleted ones if you may undelete them."""
        self.require(Permission.WORKOUTS_WRITE, only_if=filters["deleted"])
        return queries.list_logs(self.session, self.principal, now=self.now, page=page, **filters)

    @needs(Permission.WORKOUTS_WRITE)
    @workout_logs.body(schemas.WorkoutLogIn)
    @workout_logs.answers(schemas.WorkoutLogOut, status=201, raises=_NEW_LOG)
    def post(self, **given: Any) -> Any:
        """Log a workout with its exercises and sets."""
        log, made = service.create(self.session, self.principal, self.services, now=self.now, **given)
        return log, 201 if made else 200


@workout_logs.route("/<uuid:log_id>/")
class OneWorkoutLog(Resource):
    """One log."""

    @needs(Permission.WORKOUTS_READ)
    @cached(tags=("workouts", "exercises", "groups", "enrolments", "students", "access"))
    @workout_logs.answers(schemas.WorkoutLogOut)
    def get(self, log_id: UUID) -> Any:
        """Show a log with its exercises and sets."""
        return queries.get_log(self.session, self.principal, log_id)

    @needs(Permission.WORKOUTS_WRITE)
    @workout_logs.body(schemas.WorkoutLogPatch)
    @workout_logs.answers(
        schemas.WorkoutLogOut, raises=(NotFound, MonthUnavailable, problems.EndedBeforeStart, problems.UnitMissing)
    )
    def patch(self, log_id: UUID, **changes: Any) -> Any:
        """Change a log's own fields."""
        return service.change(self.session, self.principal, log_id=log_id, expected=self.if_match, **changes)

    @needs(Permission.WORKOUTS_WRITE)
    @workout_logs.answers(None, raises=(NotFound, MonthUnavailable))
    def delete(self, log_id: UUID) -> None:
        """Delete a log; it can be undeleted."""
        service.delete(self.session, self.principal, log_id=log_id, expected=self.if_match, now=self.now)


@workout_logs.route("/<uuid:log_id>/undelete/")
class WorkoutLogUndelete(Resource):
    """Undeleting a log."""

    @needs(Permission.WORKOUTS_WRITE)
    @workout_logs.answers(schemas.WorkoutLogOut, raises=(NotFound, MonthUnavailable))
    def post(self, log_id: UUID) -> Any:
        """Undelete a log with its sets."""
        return service.undelete(self.session, self.principal, log_id=log_id)


@workout_logs.route("/<uuid:log_id>/sets/")
class WorkoutSets(Resource):
    """The sets of a log."""

    @needs(Permission.WORKOUTS_READ)
    @cached(tags=("workouts", "groups", "enrolments", "students", "access"))
    @workout_logs.query(set_schemas.SetFilter)
    @workout_logs.answers_page(set_schemas.SetOut, sorts=("position",), raises=(NotFound,))
    def get(self, log_id: UUID, *, deleted: bool, page: Any) -> Any:
        """List the sets of a log; deleted ones if you may undelete them."""
        self.require(Permission.WORKOUTS_WRITE, only_if=deleted)
        return queries.list_sets(self.session, self.principal, log_id=log_id, deleted=deleted, page=page)

    @needs(Permission.WORKOUTS_WRITE)
    @workout_logs.body(set_schemas.AppendedSetIn)
    @workout_logs.answers(set_schemas.SetOut, status=201, raises=_NEW_SET)
    def post(self, log_id: UUID, **given: Any) -> Any:
        """Append a set."""
        one, made = set_service.append(self.session, self.principal, now=self.now, log_id=log_id, **given)
        return one, 201 if made else 200


@workout_logs.route("/<uuid:log_id>/sets/<uuid:set_id>/")
class OneWorkoutSet(Resource):
    """One set of a log."""

    @needs(Permission.WORKOUTS_READ)
    @cached(tags=("workouts", "groups", "enrolments", "students", "access"))
    @workout_logs.answers(set_schemas.SetOut)
    def get(self, log_id: UUID, set_id: UUID) -> Any:
        """Show a set."""
        return queries.get_set(self.session, self.principal, log_id=log_id, set_id=set_id)

    @needs(Permission.WORKOUTS_WRITE)
    @workout_logs.body(set_schemas.SetPatch)
    @workout_logs.answers(
        set_schemas.SetOut, raises=(NotFound, MonthUnavailable, problems.SaysNothing, problems.UnitMissing)
    )
    def patch(self, log_id: UUID, set_id: UUID, **changes: Any) -> Any:
        """Change a set."""
        return set_service.change(
            self.session, self.principal, log_id=log_id, set_id=set_id, expected=self.if_match, **changes
        )

    @needs(Permission.WORKOUTS_WRITE)
    @workout_logs.answers(None, raises=(NotFound, MonthUnavailable))
    def delete(self, log_id: UUID, set_id: UUID) -> None:
        """Delete a set; it can be undeleted."""
        set_service.delete(
            self.session, self.principal, log_id=log_id, set_id=set_id, expected=self.if_match, now=self.now
        )


@workout_logs.route("/<uuid:log_id>/sets/<uuid:set_id>/undelete/")
class WorkoutSetUndelete(Resource):
    """Undeleting a set."""

    @needs(Permission.WORKOUTS_WRITE)
    @workout_logs.answers(set_schemas.SetOut, raises=(NotFound, MonthUnavailable))
    def post(self, log_id: UUID, set_id: UUID) -> Any:
        """Undelete a set at its position."""
        return set_service.undelete(self.session, self.principal, log_id=log_id, set_id=set_id)


@student_workouts.route("/<uuid:student_id>/workouts/")
class StudentWorkouts(Resource):
    """A student's training."""

    @needs(Permission.WORKOUTS_READ)
    @cached(tags=("workouts", "exercises", "groups", "enrolments", "students", "access"))
    @student_workouts.query(schemas.DateRangeFilter)
    @student_workouts.answers_page(schemas.LogHeaderOut, sorts=("-date",), raises=(NotFound,))
    def get(self, student_id: UUID, *, page: Any, **period: Any) -> Any:
        """List a student's logs, newest first; deleted ones if you may undelete them."""
        self.require(Permission.WORKOUTS_WRITE, only_if=period["deleted"])
        return queries.list_student_logs(
            self.session, self.principal, student_id=student_id, now=self.now, page=page, **period
        )
