"""Assign a substitute for one session."""

from uuid import UUID
from zoneinfo import ZoneInfo

from campshub.attendance.queries import sessions as reads
from campshub.attendance.service.sessions import GroupRequired
from campshub.core.db.session import Session
from campshub.core.security.principal import Principal
from campshub.students.models import GroupSubstitute
from campshub.students.service import substitutes


def assign(
    session: Session, principal: Principal, *, session_id: UUID, trainer_id: UUID
) -> tuple[GroupSubstitute, bool]:
    """Assign a substitute to a session's group for the day of the session, and for the next one if it ends then.

    :raises NotFound: the principal sees no such session.
    :raises GroupRequired: open gym has no trainers.
    :raises UnknownReference: the user is no trainer in the organization.
    """
    found = reads.get_session(session, principal, session_id)
    if found.group_id is None:
        raise GroupRequired("Open gym has no trainers.")
    last_date = found.local_date
    if found.ends_at is not None:
        last_date = max(last_date, found.ends_at.astimezone(ZoneInfo(principal.time_zone)).date())
    return substitutes.assign(
        session,
        principal,
        group_id=found.group_id,
        trainer_id=trainer_id,
        first_date=found.local_date,
        last_date=last_date,
    )
