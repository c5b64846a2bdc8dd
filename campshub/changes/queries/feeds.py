"""The feeds: the rows of each, who sees them, and how they depend on students whose visibility has changed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import ARRAY, ColumnElement, Uuid, and_, func, null, select, true
from sqlalchemy.orm import aliased

from campshub.attendance.models import AttendanceCode, AttendanceRecord, AttendanceSession
from campshub.attendance.queries import codes, records, sessions
from campshub.changes.queries import visibility
from campshub.core.db.models import AnyRow
from campshub.core.db.prepared import AnySelect
from campshub.core.security.permissions import Permission, Scope
from campshub.core.security.principal import Principal, visible_to
from campshub.students.models import Enrolment, Group, GroupTrainer, Student
from campshub.students.queries import groups, students
from campshub.workouts.models import WorkoutLog, WorkoutLogId
from campshub.workouts.queries import logs

Condition = Callable[[Principal], ColumnElement[bool]]
# The first date of a copy; None: all dates.
FirstDate = date | None


@dataclass(frozen=True)
class Feed:
    """One feed: its table, and which of its rows a caller sees or may have seen."""

    name: str
    permission: Permission
    model: Any
    # The columns of an item; the dates are those of the rows of a page.
    columns: Callable[[Principal, Sequence[date]], Sequence[Any]]
    # Rows that a list would show.
    shown: Condition
    # Rows that the caller may have seen before.
    known: Condition
    # The column with the date by which a copy can be limited.
    day: Any = None
    # Whether the date selects the partition of a row.
    is_monthly: bool = False
    # The rows that a trainer sees only while they see the student: a condition, and the column with the student.
    of_students: tuple[Any, Any] | None = None
    # The rows that another row of the feed hides: a query by its id.
    hidden_by: Callable[[Any, Principal], AnySelect] | None = None
    # The item of a row.
    item: Callable[[AnyRow], Any] = lambda row: row
    # The date of a row may change, so it is not the one in a change set.
    dates: Any = None

    def follows_students(self, principal: Principal) -> bool:
        """Return whether rows appear or disappear with the visibility of students."""
        return self.of_students is not None and principal.scope is Scope.GROUPS

    def watched(self, principal: Principal) -> set[str]:
        """Return the names of the feeds whose change sets this feed reads."""
        return {self.name, "students", "enrolments"} if self.follows_students(principal) else {self.name}

    def dated(self, first_date: FirstDate) -> ColumnElement[bool]:
        """Return the condition that a row is not before the first date of the copy."""
        if first_date is None or self.day is None:
            return true()
        found: ColumnElement[bool] = self.day >= first_date
        return found


def _trainer_ids() -> Any:
    ids = (
        select(GroupTrainer.user_id)
        .where(GroupTrainer.organization_id == Group.organization_id, GroupTrainer.group_id == Group.id)
        .order_by(GroupTrainer.user_id)
        .correlate(Group)
    )
    return func.array(ids.scalar_subquery(), type_=ARRAY(Uuid())).label("trainer_ids")


def _code_columns(principal: Principal, _dates: Sequence[date]) -> Sequence[Any]:
    return (*codes.COLUMNS, (AttendanceCode.organization_id != principal.organization_id).label("is_default"))


def _replaced_codes(own_id: Any, principal: Principal) -> AnySelect:
    """Return the query of the default codes that an own code replaces."""
    own, default = aliased(AttendanceCode), aliased(AttendanceCode)
    return (
        select(default.id)
        .select_from(own)
        .join(default, default.key == own.key)
        .where(visible_to(principal, own), own.id == own_id)
    )


def _alive(model: Any) -> Condition:
    return lambda principal: and_(visible_to(principal, model), model.deleted_at.is_(None))


def _visible(model: Any) -> Condition:
    return lambda principal: visible_to(principal, model)


STUDENTS = Feed(
    "students",
    Permission.STUDENTS_READ,
    Student,
    lambda principal, _dates: students.columns_for(principal, students.LISTED_COLUMNS),
    shown=_alive(Student),
    known=lambda principal: visibility.may_know_student(principal, Student, Student.id),
    of_students=(true(), Student.id),
)
GROUPS = Feed(
    "groups",
    Permission.GROUPS_READ,
    Group,
    lambda *_: (*groups.COLUMNS, _trainer_ids()),
    shown=_alive(Group),
    known=_visible(Group),
)
ENROLMENTS = Feed(
    "enrolments",
    Permission.GROUPS_READ,
    Enrolment,
    lambda *_: groups.ENROLMENT_COLUMNS,
    shown=_visible(Enrolment),
    known=_visible(Enrolment),
)
SESSIONS = Feed(
    "sessions",
    Permission.ATTENDANCE_READ,
    AttendanceSession,
    lambda principal, _dates: sessions.columns(principal),
    shown=_visible(AttendanceSession),
    known=lambda principal: visibility.may_know(principal, AttendanceSession, AttendanceSession.group_id, null()),
    day=AttendanceSession.local_date,
)
RECORDS = Feed(
    "records",
    Permission.ATTENDANCE_READ,
    AttendanceRecord,
    lambda *_: records.COLUMNS,
    shown=_visible(AttendanceRecord),
    known=lambda principal: visibility.may_know(
        principal, AttendanceRecord, AttendanceRecord.group_id, AttendanceRecord.student_id
    ),
    day=AttendanceRecord.local_date,
    is_monthly=True,
    of_students=(AttendanceRecord.group_id.is_(None), AttendanceRecord.student_id),
)
CODES = Feed(
    "codes",
    Permission.ATTENDANCE_READ,
    AttendanceCode,
    _code_columns,
    shown=codes.in_force,
    known=_visible(AttendanceCode),
    hidden_by=_replaced_codes,
)
WORKOUT_LOGS = Feed(
    "workout_logs",
    Permission.WORKOUTS_READ,
    WorkoutLog,
    lambda _principal, dates: logs.header_columns(min(dates), max(dates)),
    shown=_alive(WorkoutLog),
    known=lambda principal: visibility.may_know_student(principal, WorkoutLog, WorkoutLog.student_id),
    day=WorkoutLog.local_date,
    is_monthly=True,
    of_students=(true(), WorkoutLog.student_id),
    item=logs.header,
    dates=WorkoutLogId,
)
# In this order, so that a client can store each row's references before the row.
FEEDS = {feed.name: feed for feed in (CODES, GROUPS, STUDENTS, ENROLMENTS, SESSIONS, RECORDS, WORKOUT_LOGS)}
