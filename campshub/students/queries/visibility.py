"""Visibility rules of students and groups: trainers see those of their groups, others themselves and their children.

A login belongs to a student, to a guardian, or to both. With the scope ``own`` it sees that student and the students of
that guardian; of the guardians it sees itself, and those of the student whose login it is.
"""

from typing import Any

from sqlalchemy import ColumnElement, CompoundSelect, Date, Select, and_, cast, exists, func, or_, select, union_all

from campshub.accounts.models import Organization
from campshub.core.security.permissions import Scope
from campshub.core.security.principal import Principal, visibility, visible_to
from campshub.students.models import (
    Enrolment,
    Group,
    GroupSubstitute,
    GroupTrainer,
    Guardian,
    Student,
    StudentGuardian,
)
from campshub.students.queries.in_group import enrolled_during, ever_enrolled, not_left

# Trainers see students of today, of the past month and of the next month; by the UTC date, so give or take a day.
GRACE_DAYS = 31


def trained_group_ids(principal: Principal) -> Any:
    """Select the groups that the principal trains, or in which they are a substitute today."""
    trained = select(GroupTrainer.group_id).where(
        GroupTrainer.organization_id == principal.organization_id, GroupTrainer.user_id == principal.user_id
    )
    substituted = select(GroupSubstitute.group_id).where(
        GroupSubstitute.organization_id == principal.organization_id,
        GroupSubstitute.trainer_id == principal.user_id,
        _local_date(principal).between(GroupSubstitute.first_date, GroupSubstitute.last_date),
    )
    return union_all(trained, substituted)


def _local_date(principal: Principal) -> ColumnElement[Any]:
    """Return today's date in the organization's time zone; it is part of the view of cached responses."""
    zone = select(Organization.time_zone).where(Organization.id == principal.organization_id).scalar_subquery()
    return cast(func.timezone(zone, func.now()), Date)


def student_of_login(principal: Principal) -> Select[Any]:
    """Return the query of the id of the student whose login the principal is."""
    own = and_(Student.organization_id == principal.organization_id, Student.user_id == principal.user_id)
    return select(Student.id).where(own)


def students_of_guardian(principal: Principal) -> Select[Any]:
    """Return the query of the ids of the students whose guardian the principal is."""
    return (
        select(StudentGuardian.student_id)
        .join(
            Guardian,
            and_(
                Guardian.organization_id == StudentGuardian.organization_id, Guardian.id == StudentGuardian.guardian_id
            ),
        )
        .where(StudentGuardian.organization_id == principal.organization_id)
        .where(Guardian.user_id == principal.user_id, Guardian.deleted_at.is_(None))
    )


def own_students(principal: Principal) -> CompoundSelect[Any]:
    """Return the query of the ids of the students whose login or guardian the principal is."""
    # A union, because an index serves each half of it; for a condition with OR, all students would be read.
    return union_all(student_of_login(principal), students_of_guardian(principal))


def own_student_ids(principal: Principal) -> ColumnElement[bool]:
    """Return the condition that the principal is the student, or a guardian of the student."""
    return and_(Student.organization_id == principal.organization_id, Student.id.in_(own_students(principal)))


@visibility(Student, Scope.GROUPS)
def _trainers_students(principal: Principal) -> ColumnElement[bool]:
    first_date, last_date = func.current_date() - GRACE_DAYS, func.current_date() + GRACE_DAYS
    # Includes deleted students: lists of them and undelete use this rule too; other reads exclude them.
    return not_left(first_date) & exists(
        select(1)
        .select_from(Enrolment)
        .where(
            Enrolment.group_id.in_(trained_group_ids(principal)),
            Enrolment.organization_id == Student.organization_id,
            Enrolment.student_id == Student.id,
            enrolled_during(first_date, last_date),
        )
        .correlate(Student)
    )


@visibility(Student, Scope.OWN)
def _oneself_and_children(principal: Principal) -> ColumnElement[bool]:
    return Student.id.in_(own_students(principal))


@visibility(StudentGuardian, Scope.GROUPS)
def _links_of_visible_student(principal: Principal) -> ColumnElement[bool]:
    return exists(
        select(1)
        .select_from(Student)
        .where(visible_to(principal, Student), Student.id == StudentGuardian.student_id)
        .correlate(StudentGuardian)
    )


@visibility(StudentGuardian, Scope.OWN)
def _own_links(principal: Principal) -> ColumnElement[bool]:
    own = and_(Guardian.organization_id == principal.organization_id, Guardian.user_id == principal.user_id)
    return or_(
        StudentGuardian.student_id.in_(student_of_login(principal)),
        StudentGuardian.guardian_id.in_(select(Guardian.id).where(own, Guardian.deleted_at.is_(None))),
    )


@visibility(Guardian, Scope.GROUPS)
def _guardians_of_visible_student(principal: Principal) -> ColumnElement[bool]:
    return exists(
        select(1)
        .select_from(StudentGuardian)
        .where(visible_to(principal, StudentGuardian), StudentGuardian.guardian_id == Guardian.id)
        .correlate(Guardian)
    )


@visibility(Guardian, Scope.OWN)
def _own_guardians(principal: Principal) -> ColumnElement[bool]:
    links = select(StudentGuardian.guardian_id).where(
        StudentGuardian.organization_id == principal.organization_id,
        StudentGuardian.student_id.in_(student_of_login(principal)),
    )
    return or_(Guardian.user_id == principal.user_id, Guardian.id.in_(links))


@visibility(Group, Scope.GROUPS)
def _trainers_groups(principal: Principal) -> ColumnElement[bool]:
    return Group.id.in_(trained_group_ids(principal))


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
    return Enrolment.group_id.in_(trained_group_ids(principal))


@visibility(GroupSubstitute, Scope.GROUPS)
def _trainers_substitutes(principal: Principal) -> ColumnElement[bool]:
    return GroupSubstitute.group_id.in_(trained_group_ids(principal))


@visibility(Enrolment, Scope.OWN)
def _own_enrolments(principal: Principal) -> ColumnElement[bool]:
    return exists(
        select(1)
        .select_from(Student)
        .where(own_student_ids(principal), Student.id == Enrolment.student_id)
        .correlate(Enrolment)
    )
