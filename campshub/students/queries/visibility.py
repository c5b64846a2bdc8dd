"""Visibility rules of students and groups: trainers see those of their groups, clients only themselves."""

from sqlalchemy import ColumnElement, and_, exists, func, select

from campshub.core.security.permissions import Scope
from campshub.core.security.principal import Principal, visibility
from campshub.students.models import Enrolment, Group, GroupTrainer, Student
from campshub.students.queries.in_group import enrolled_during, ever_enrolled, not_left

# Trainers see students of today, of the past month and of the next month; by the UTC date, so give or take a day.
GRACE_DAYS = 31


def trained_groups(principal: Principal) -> ColumnElement[bool]:
    """Return the condition that a ``GroupTrainer`` row belongs to the principal."""
    return and_(
        GroupTrainer.organization_id == principal.organization_id,
        GroupTrainer.user_id == principal.user_id,
    )


def own_student_ids(principal: Principal) -> ColumnElement[bool]:
    """Return the condition that the principal is the student."""
    return and_(Student.organization_id == principal.organization_id, Student.user_id == principal.user_id)


@visibility(Student, Scope.GROUPS)
def _trainers_students(principal: Principal) -> ColumnElement[bool]:
    first_date, last_date = func.current_date() - GRACE_DAYS, func.current_date() + GRACE_DAYS
    # Includes deleted students: lists of them and undelete use this rule too; other reads exclude them.
    return not_left(first_date) & exists(
        select(1)
        .select_from(Enrolment)
        .join(
            GroupTrainer,
            and_(
                GroupTrainer.organization_id == Enrolment.organization_id,
                GroupTrainer.group_id == Enrolment.group_id,
            ),
        )
        .where(
            trained_groups(principal),
            Enrolment.organization_id == Student.organization_id,
            Enrolment.student_id == Student.id,
            enrolled_during(first_date, last_date),
        )
        .correlate(Student)
    )


@visibility(Student, Scope.OWN)
def _oneself(principal: Principal) -> ColumnElement[bool]:
    return Student.user_id == principal.user_id


@visibility(Group, Scope.GROUPS)
def _trainers_groups(principal: Principal) -> ColumnElement[bool]:
    return exists(
        select(1)
        .select_from(GroupTrainer)
        .where(trained_groups(principal), GroupTrainer.group_id == Group.id)
        .correlate(Group)
    )


@visibility(Group, Scope.OWN)
def _own_groups(principal: Principal) -> ColumnElement[bool]:
    return exists(
        select(1)
        .select_from(Enrolment)
        .join(Student, and_(Student.organization_id == Enrolment.organization_id, Student.id == Enrolment.student_id))
        .where(
            own_student_ids(principal),
            Enrolment.group_id == Group.id,
            ever_enrolled(),
        )
        .correlate(Group)
    )


@visibility(Enrolment, Scope.GROUPS)
def _trainers_enrolments(principal: Principal) -> ColumnElement[bool]:
    return exists(
        select(1)
        .select_from(GroupTrainer)
        .where(trained_groups(principal), GroupTrainer.group_id == Enrolment.group_id)
        .correlate(Enrolment)
    )


@visibility(Enrolment, Scope.OWN)
def _own_enrolments(principal: Principal) -> ColumnElement[bool]:
    return exists(
        select(1)
        .select_from(Student)
        .where(own_student_ids(principal), Student.id == Enrolment.student_id)
        .correlate(Enrolment)
    )
