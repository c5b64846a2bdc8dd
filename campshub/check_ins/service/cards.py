"""Cards of students: staff give and remove them."""

from typing import Any
from uuid import UUID

from sqlalchemy import select

from campshub.check_ins.models import StudentCard
from campshub.check_ins.service.refusals import CardTaken
from campshub.core.db import creates
from campshub.core.db.session import Session
from campshub.core.db.writes import Versions, lock
from campshub.core.errors import NotFound
from campshub.core.security.principal import Principal, visible_to
from campshub.students.models import Student

CARDS = creates.Collection(
    StudentCard, "/api/students/{row.student_id}/cards/{row.id}/", (creates.unique(CardTaken, StudentCard.number),)
)


def give(session: Session, principal: Principal, *, student_id: UUID, number: str) -> StudentCard:
    """Give a student a card.

    :raises NotFound: the principal sees no such student.
    :raises CardTaken: a student has a card with this number.
    """
    own = (visible_to(principal, Student), Student.id == student_id, Student.deleted_at.is_(None))
    if session.scalar(select(Student.id).where(*own)) is None:
        raise NotFound
    body = {"student_id": student_id, "number": number}
    card, _ = creates.create(session, principal, CARDS, id=None, body=body)
    given: StudentCard = card
    return given


def remove(session: Session, principal: Principal, *, student_id: UUID, card_id: UUID, expected: Versions) -> None:
    """Remove a card, which checks in no one from then on.

    :raises NotFound: the student has no such card, or the principal does not see the student.
    :raises PreconditionFailed: it has changed since the caller read it.
    """
    seen = select(Student.id).where(visible_to(principal, Student), Student.id == student_id)
    card: Any = lock(session, principal, StudentCard, card_id, StudentCard.student_id.in_(seen), expected=expected)
    session.delete(card)
    session.flush()
