"""Changing users."""

from sqlalchemy import select

from campshub.accounts.models import User
from campshub.accounts.service.sessions import record_in_organizations
from campshub.core.db.session import Session
from campshub.core.db.writes import Versions, require_version
from campshub.core.names import sort_key
from campshub.core.security.principal import Principal


def change_me(session: Session, principal: Principal, *, expected: Versions, name: str | None = None) -> None:
    """Change the signed-in user's own name; every organization that they belong to is told.

    :raises PreconditionFailed: it has changed since the caller read it.
    """
    user = session.scalars(select(User).where(User.id == principal.user_id).with_for_update()).one()
    require_version(user, expected)
    if name is None or name == user.name:
        return
    user.name, user.sort_name = name, sort_key(name)
    session.flush()
    record_in_organizations(session, principal.user_id)
