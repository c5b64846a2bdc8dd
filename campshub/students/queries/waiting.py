"""Reads of the waiting lists of groups."""

from uuid import UUID

from sqlalchemy import and_, func, select

from campshub.core.db.prepared import AnySelect, prepared
from campshub.core.db.session import Session
from campshub.core.paging import Page, PageRequest
from campshub.core.security.principal import Principal, visible_to
from campshub.students.models import Enrolment, Student
from campshub.students.queries.groups import group_is_visible, require_visible_group


def list_waiting(session: Session, principal: Principal, group_id: UUID, *, page: PageRequest) -> Page:
    """List the enrolments on a group's waiting list, in its order.

    :raises NotFound: the principal sees no such group.
    """
    found = page.read(session, _waiting(principal, group_id=group_id, page=page))
    if not found.rows:
        require_visible_group(session, principal, group_id)
    return found


@prepared
def _waiting(principal: Principal, *, group_id: UUID, page: PageRequest) -> AnySelect:
    order = (Enrolment.created_at, Enrolment.id)
    # The position counts all who wait, also those whom the principal does not see.
    numbered = (
        select(Enrolment.id, func.row_number().over(order_by=order).label("position"))
        .join(Student, and_(Student.organization_id == Enrolment.organization_id, Student.id == Enrolment.student_id))
        .where(Enrolment.organization_id == principal.organization_id, Enrolment.group_id == group_id)
        .where(Enrolment.is_waiting, Student.deleted_at.is_(None))
        .subquery("numbered")
    )
    columns = (
        *(Enrolment.id, numbered.c.position, Enrolment.student_id, Student.code),
        *(Student.given_name, Student.family_name, Student.preferred_name),
        *(Enrolment.begins_on, Enrolment.ends_on, Enrolment.created_at, Enrolment.version),
    )
    rows = (
        select(*page.choose(columns))
        .select_from(numbered)
        .join(Enrolment, Enrolment.id == numbered.c.id)
        .join(Student, and_(Student.organization_id == Enrolment.organization_id, Student.id == Enrolment.student_id))
        .where(visible_to(principal, Enrolment), visible_to(principal, Student), group_is_visible(principal, group_id))
    )
    return page.ordered(rows, order=order)
