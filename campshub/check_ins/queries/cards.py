"""Reads of students' cards."""

from uuid import UUID

from sqlalchemy import ColumnElement, select

from campshub.check_ins.models import StudentCard
from campshub.core.db.models import AnyRow
from campshub.core.db.prepared import AnySelect, prepared
from campshub.core.db.session import Session
from campshub.core.errors import NotFound
from campshub.core.paging import Page, PageRequest
from campshub.core.security.principal import Principal, visible_to
from campshub.students.models import Student
from campshub.students.queries.enrolments import require_visible_student

COLUMNS = (StudentCard.id, StudentCard.student_id, StudentCard.number, StudentCard.created_at, StudentCard.version)


def list_cards(session: Session, principal: Principal, student_id: UUID, *, page: PageRequest) -> Page:
    """List the cards of a student.

    :raises NotFound: the principal sees no such student.
    """
    found = page.read(session, _cards(principal, page=page, student_id=student_id))
    if not found.rows:
        require_visible_student(session, principal, student_id)
    return found


@prepared
def _cards(principal: Principal, *, page: PageRequest, student_id: UUID) -> AnySelect:
    rows = select(*page.choose(COLUMNS)).where(*_of(principal, student_id))
    return page.ordered(rows, order=(StudentCard.id,))


def get_card(session: Session, principal: Principal, *, student_id: UUID, card_id: UUID) -> AnyRow:
    """Return one card of a student.

    :raises NotFound: the student has no such card, or the principal does not see the student.
    """
    row = session.execute(_card(principal, student_id=student_id, card_id=card_id)).one_or_none()
    if row is None:
        raise NotFound
    return row


@prepared
def _card(principal: Principal, *, student_id: UUID, card_id: UUID) -> AnySelect:
    return select(*COLUMNS).where(*_of(principal, student_id), StudentCard.id == card_id)


def _of(principal: Principal, student_id: UUID) -> tuple[ColumnElement[bool], ...]:
    seen = select(Student.id).where(visible_to(principal, Student), Student.id == student_id)
    own = (StudentCard.student_id == student_id, StudentCard.student_id.in_(seen))
    return visible_to(principal, StudentCard), *own
