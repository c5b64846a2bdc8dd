"""Who may learn that a row is gone: callers who may have seen it before, given what they may see now.

A token ends when the caller's access changes (``access``). So a scope of one's own rows needs no rule here beyond that
of the table; trainers lose sight of a student also when an enrolment or a date changes.
"""

from typing import Any

from sqlalchemy import ColumnElement, and_, exists, or_, select, true

from campshub.changes.models import ChangeSet
from campshub.core.security.permissions import Scope
from campshub.core.security.principal import Principal, everyone_sees, visible_to
from campshub.students.models import Enrolment, Group, Student
from campshub.students.queries import visibility as _rules  # noqa: F401 - registers the visibility rules

everyone_sees(ChangeSet)  # the rows that it names have their own rules


def visible_groups(principal: Principal) -> Any:
    """Return the query of the ids of the groups that the principal sees."""
    return select(Group.id).where(visible_to(principal, Group))


def ever_enrolled(principal: Principal, student_id: Any, model: Any) -> ColumnElement[bool]:
    """Return the condition that a student has, or has had, an enrolment that the principal sees."""
    return exists(
        select(1)
        .select_from(Enrolment)
        .where(visible_to(principal, Enrolment), Enrolment.student_id == student_id)
        .correlate(model)
    )


def may_know_student(principal: Principal, model: Any, student_id: Any) -> ColumnElement[bool]:
    """Return the condition that the principal may have seen the student of a row."""
    if principal.scope is Scope.ALL:
        return true()
    if principal.scope is Scope.GROUPS:
        return ever_enrolled(principal, student_id, model)
    own: ColumnElement[bool] = student_id.in_(select(Student.id).where(visible_to(principal, Student)))
    return own


def may_know(principal: Principal, model: Any, group_id: Any, student_id: Any) -> ColumnElement[bool]:
    """Return the condition that the principal may have seen a row of this group, or without one, of this student.

    For the scope of one's own rows, a row with a student is decided by the student only.
    """
    if principal.scope is Scope.ALL:
        return true()
    in_group = group_id.in_(visible_groups(principal))
    of_student = may_know_student(principal, model, student_id)
    if principal.scope is Scope.GROUPS:
        return or_(in_group, and_(group_id.is_(None), or_(student_id.is_(None), of_student)))
    return or_(of_student, and_(student_id.is_(None), in_group))
