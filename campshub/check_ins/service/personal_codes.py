"""Personal codes: a student shows one to a kiosk, where it works once."""

import secrets
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select

from campshub.check_ins.models import CheckInCode
from campshub.check_ins.service.recognition import is_device
from campshub.check_ins.service.refusals import CodeNotValid
from campshub.core.db import writes
from campshub.core.db.session import Session
from campshub.core.errors import Forbidden, NotFound
from campshub.core.security.principal import Principal, visible_to
from campshub.core.service_base import Services
from campshub.students.models import Student

_LENGTH = 10
_ALPHABET = "23456789ABCDEFGHJKMNPQRSTVWXYZ"  # without signs that look like others


def issue(
    session: Session,
    principal: Principal,
    services: Services,
    *,
    student_id: UUID,
    valid_minutes: int,
    now: datetime,
) -> dict[str, Any]:
    """Return a new code of a student; an earlier one is not valid any more.

    :raises NotFound: the principal sees no such student.
    :raises Forbidden: a device asks for it.
    """
    if is_device(principal):
        raise Forbidden
    own = (visible_to(principal, Student), Student.id == student_id, Student.deleted_at.is_(None))
    if session.scalar(select(Student.id).where(*own).with_for_update(key_share=True, of=Student)) is None:
        raise NotFound
    code = "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))
    theirs = (visible_to(principal, CheckInCode), CheckInCode.student_id == student_id)
    row = session.scalars(select(CheckInCode).where(*theirs)).one_or_none() or CheckInCode(student_id=student_id)
    row.code_hash, row.expires_at, row.used_at = (
        hash_of_code(services, principal, code),
        now + timedelta(minutes=valid_minutes),
        None,
    )
    session.add(row)
    session.flush()
    return {"student_id": student_id, "code": code, "expires_at": row.expires_at}


def use(session: Session, principal: Principal, code_id: UUID, *, now: datetime) -> None:
    """Use a code up.

    :raises CodeNotValid: another request has used it meanwhile.
    """
    try:
        code = writes.lock(session, principal, CheckInCode, code_id, CheckInCode.used_at.is_(None))
    except NotFound as error:
        raise CodeNotValid from error
    code.used_at = now
    session.flush()


def hash_of_code(services: Services, principal: Principal, code: str) -> bytes:
    """Return the keyed hash of a code; blanks, hyphens and small letters make no difference."""
    plain = code.replace(" ", "").replace("-", "").upper()
    return services.tokens.opaque.keyed("check-in code", f"{principal.organization_id}:{plain}")
