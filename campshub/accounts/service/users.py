"""Change users."""

from sqlalchemy import select

from campshub.accounts.models import User
from campshub.accounts.service.sessions import mark_user_changed
from campshub.core.db.session import Session
from campshub.core.db.writes import Versions, require_version
from campshub.core.names import sort_key
from campshub.core.security.principal import Principal


def change_me(session: Session, principal: Principal, *, expected: Versions, name: str | None = None) -> None:
    """Change the signed-in user's name, and mark them as changed in all their organizations.

    :raises PreconditionFailed: it has changed since the caller read it.
    """
    user = session.scalars(select(User).where(User.id == principal.user_id).with_for_update()).one()
    require_version(user, expected)
    if name is None or name == user.name:
        return
    user.name, user.sort_name = name, sort_key(name)
    session.flush()
    mark_user_changed(session, principal.user_id)
