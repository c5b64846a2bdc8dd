"""Visibility rules of sessions and records: trainers see those of their groups, clients and guardians their own.

Clients see their groups' sessions on the days on which they are in the group; guardians see those of their students in
the same way, and of the marks of a session only those of their students. Open gym belongs to the whole
organization: trainers see its sessions, and in them the records of the students that they see. Its total counts are
visible only with the scope of the whole organization.
"""

from typing import Any

from sqlalchemy import ColumnElement, and_, exists, or_, select

from campshub.attendance.models import (
    OPEN_GYM,
    AttendanceCode,
    AttendanceGroupDay,
    AttendanceGroupDayStale,
    AttendanceRecord,
    AttendanceSession,
    AttendanceSessionCount,
    AttendanceStudentMonth,
    AttendanceStudentMonthStale,
    AttendanceStudentOutcome,
)
from campshub.core.security.permissions import Scope
from campshub.core.security.principal import Principal, everyone_sees, shared_with_platform, visibility, visible_to
from campshub.students.models import Enrolment, Student
from campshub.students.queries.in_group import enrolled_on, ever_enrolled, not_left
from campshub.students.queries.visibility import own_student_ids, own_students, trained_group_ids

shared_with_platform(AttendanceCode)


@visibility(AttendanceSession, Scope.GROUPS)
def _trainers_sessions(principal: Principal) -> ColumnElement[bool]:
    return or_(AttendanceSession.group_id.is_(None), AttendanceSession.group_id.in_(trained_group_ids(principal)))


@visibility(AttendanceSession, Scope.OWN)
def _own_groups_sessions(principal: Principal) -> ColumnElement[bool]:
    own = and_(
        Enrolment.organization_id == principal.organization_id, Enrolment.student_id.in_(own_students(principal))
    )
    that_day = exists(
        select(1)
        .select_from(Enrolment)
        .join(Student, and_(Student.organization_id == Enrolment.organization_id, Student.id == Enrolment.student_id))
        .where(own_student_ids(principal), Enrolment.organization_id == principal.organization_id)
        .where(Enrolment.group_id == AttendanceSession.group_id, enrolled_on(AttendanceSession.local_date))
        .where(not_left(AttendanceSession.local_date))
        .correlate(AttendanceSession)
    )
    # The separate condition on the groups avoids reading the sessions of other groups.
    return and_(AttendanceSession.group_id.in_(select(Enrolment.group_id).where(own, ever_enrolled())), that_day)


@visibility(AttendanceRecord, Scope.GROUPS)
def _trainers_records(principal: Principal) -> ColumnElement[bool]:
    return or_(
        AttendanceRecord.group_id.in_(trained_group_ids(principal)),
        and_(AttendanceRecord.group_id.is_(None), _of_visible_student(principal, AttendanceRecord)),
    )


@visibility(AttendanceRecord, Scope.OWN)
def _own_records(principal: Principal) -> ColumnElement[bool]:
    return AttendanceRecord.student_id.in_(own_students(principal))


for _model in (AttendanceGroupDay, AttendanceGroupDayStale, AttendanceSessionCount):

    @visibility(_model, Scope.GROUPS)
    def _trainers_days(principal: Principal, model: Any = _model) -> ColumnElement[bool]:
        days: ColumnElement[bool] = model.group_id.in_(trained_group_ids(principal))
        return days


@visibility(AttendanceStudentMonth, Scope.GROUPS)
def _trainers_months(principal: Principal) -> ColumnElement[bool]:
    return or_(
        AttendanceStudentMonth.group_id.in_(trained_group_ids(principal)),
        and_(AttendanceStudentMonth.group_id == OPEN_GYM, _of_visible_student(principal, AttendanceStudentMonth)),
    )


@visibility(AttendanceStudentMonth, Scope.OWN)
def _own_months(principal: Principal) -> ColumnElement[bool]:
    return AttendanceStudentMonth.student_id.in_(own_students(principal))


# The outcomes of all of a student's sessions, also of groups that the trainer does not train.
for _scope in (Scope.GROUPS, Scope.OWN):

    @visibility(AttendanceStudentOutcome, _scope)
    def _outcomes_of_visible_students(principal: Principal) -> ColumnElement[bool]:
        return _of_visible_student(principal, AttendanceStudentOutcome)


# A stale key says only that records must be counted; the records have their own rules.
everyone_sees(AttendanceStudentMonthStale)


def _of_visible_student(principal: Principal, model: Any) -> ColumnElement[bool]:
    student: Any = Student
    return exists(
        select(1)
        .select_from(student)
        .where(visible_to(principal, student), student.id == model.student_id)
        .correlate(model)
    )
