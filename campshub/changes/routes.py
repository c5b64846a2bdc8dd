"""The endpoints of change feeds.

Their responses are not cached: a token names the transactions that were running, which only the primary knows.
"""

from typing import Any

from campshub.changes import schemas
from campshub.changes.queries import changes as queries
from campshub.changes.queries import feeds
from campshub.changes.tokens import ResyncRequired
from campshub.core.errors import BadCursor, Unavailable
from campshub.core.http.decorators import named, needs
from campshub.core.http.routing import Blueprint, Resource
from campshub.core.security.permissions import Permission

students = Blueprint("student_changes", __name__, url_prefix="/api/students", description="Changes of students.")
groups = Blueprint("group_changes", __name__, url_prefix="/api/groups", description="Changes of groups.")
enrolments = Blueprint(
    "enrolment_changes", __name__, url_prefix="/api/enrolments", description="Changes of enrolments."
)
attendance = Blueprint(
    "attendance_changes", __name__, url_prefix="/api/attendance", description="Changes of sessions, records and codes."
)
workout_logs = Blueprint(
    "workout_log_changes", __name__, url_prefix="/api/workout-logs", description="Changes of workout logs."
)
sync = Blueprint("sync", __name__, url_prefix="/api/sync", description="Changes of several entities at once.")
blueprints = (students, groups, enrolments, attendance, workout_logs, sync)

_REFUSALS = (BadCursor, ResyncRequired, Unavailable)


class _ChangeFeed(Resource):
    """The changes of one feed."""

    def changes_of(self, feed: feeds.Feed, *, first_date: Any = None, **given: Any) -> dict[str, Any]:
        """Return a page of one feed."""
        page = self.page_of([feed], first_date=first_date, **given)
        found = page.by_feed[feed.name]
        return {"items": found.items, "deleted": found.deleted, "next": page.next, "has_more": page.has_more}

    def page_of(self, chosen: list[feeds.Feed], **given: Any) -> queries.ChangesPage:
        """Return a page of several feeds."""
        cursors, now = self.services.cursors, self.now
        return queries.read_changes(self.session, self.principal, feeds=chosen, cursors=cursors, now=now, **given)


@students.route("/changes/")
class StudentChangeFeed(_ChangeFeed):
    """Changes of students."""

    @needs(Permission.STUDENTS_READ)
    @named("listStudentChanges")
    @students.query(schemas.ChangesFilter)
    @students.answers(schemas.StudentChangesOut, raises=_REFUSALS)
    def get(self, **given: Any) -> Any:
        """Return the students that were created, changed or deleted since a token."""
        return self.changes_of(feeds.STUDENTS, **given)


@groups.route("/changes/")
class GroupChangeFeed(_ChangeFeed):
    """Changes of groups."""

    @needs(Permission.GROUPS_READ)
    @named("listGroupChanges")
    @groups.query(schemas.ChangesFilter)
    @groups.answers(schemas.GroupChangesOut, raises=_REFUSALS)
    def get(self, **given: Any) -> Any:
        """Return the groups that were created, changed or deleted since a token."""
        return self.changes_of(feeds.GROUPS, **given)


@enrolments.route("/changes/")
class EnrolmentChangeFeed(_ChangeFeed):
    """Changes of enrolments."""

    @needs(Permission.GROUPS_READ)
    @named("listEnrolmentChanges")
    @enrolments.query(schemas.ChangesFilter)
    @enrolments.answers(schemas.EnrolmentChangesOut, raises=_REFUSALS)
    def get(self, **given: Any) -> Any:
        """Return the enrolments that were created, changed or deleted since a token."""
        return self.changes_of(feeds.ENROLMENTS, **given)


@attendance.route("/sessions/changes/")
class AttendanceSessionChangeFeed(_ChangeFeed):
    """Changes of sessions."""

    @needs(Permission.ATTENDANCE_READ)
    @named("listAttendanceSessionChanges")
    @attendance.query(schemas.DatedChangesFilter)
    @attendance.answers(schemas.SessionChangesOut, raises=_REFUSALS)
    def get(self, **given: Any) -> Any:
        """Return the sessions that were created, changed or deleted since a token."""
        return self.changes_of(feeds.SESSIONS, **given)


@attendance.route("/records/changes/")
class AttendanceRecordChangeFeed(_ChangeFeed):
    """Changes of records."""

    @needs(Permission.ATTENDANCE_READ)
    @named("listAttendanceRecordChanges")
    @attendance.query(schemas.DatedChangesFilter)
    @attendance.answers(schemas.RecordChangesOut, raises=_REFUSALS)
    def get(self, **given: Any) -> Any:
        """Return the records that were created, changed or removed since a token."""
        return self.changes_of(feeds.RECORDS, **given)


@attendance.route("/codes/changes/")
class AttendanceCodeChangeFeed(_ChangeFeed):
    """Changes of codes."""

    @needs(Permission.ATTENDANCE_READ)
    @named("listAttendanceCodeChanges")
    @attendance.query(schemas.ChangesFilter)
    @attendance.answers(schemas.CodeChangesOut, raises=_REFUSALS)
    def get(self, **given: Any) -> Any:
        """Return the attendance codes that were created, changed or replaced since a token."""
        return self.changes_of(feeds.CODES, **given)


@workout_logs.route("/changes/")
class WorkoutLogChangeFeed(_ChangeFeed):
    """Changes of workout logs."""

    @needs(Permission.WORKOUTS_READ)
    @named("listWorkoutLogChanges")
    @workout_logs.query(schemas.DatedChangesFilter)
    @workout_logs.answers(schemas.WorkoutLogChangesOut, raises=_REFUSALS)
    def get(self, **given: Any) -> Any:
        """Return the workout logs that were created, changed or deleted since a token, without their sets."""
        return self.changes_of(feeds.WORKOUT_LOGS, **given)


@sync.route("/")
class Sync(_ChangeFeed):
    """Changes of several entities."""

    # Every role has it; each entity needs its own permission besides.
    @needs(Permission.ORGANIZATION_READ)
    @named("sync")
    @sync.query(schemas.SyncFilter)
    @sync.answers(schemas.SyncOut, raises=_REFUSALS)
    def get(self, *, entities: tuple[str, ...], **given: Any) -> Any:
        """Return what was created, changed or deleted since a token, for a copy of several entities."""
        page = self.page_of(self.chosen(entities), **given)
        parts = {name: page.by_feed.get(name) for name in schemas.ENTITIES}
        return {**parts, "next": page.next, "has_more": page.has_more}

    def chosen(self, entities: tuple[str, ...]) -> list[feeds.Feed]:
        """Return the feeds of the entities.

        :raises Forbidden: the caller may not read one of them.
        """
        found = [feed for feed in feeds.FEEDS.values() if feed.name in entities]
        for feed in found:
            self.require(feed.permission, only_if=True)
        return found
