"""What a user may see at a moment. A report stores it, so that a user who sees less later does not get the report."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import select

from campshub.core.db.session import Session
from campshub.core.security.permissions import Scope
from campshub.core.security.principal import Principal, visible_to
from campshub.students.models import Group, Student

DIGEST_BYTES = 16
# The rows that bound a limited scope. No one trains, or is, more than ``_MOST`` of them.
_BOUNDED_BY: dict[Scope, Any] = {Scope.GROUPS: Group, Scope.OWN: Student}
_MOST = 10_000


@dataclass(frozen=True)
class AccessSnapshot:
    """A scope, and the ids of the groups or students in it for one person; no ids where the scope is everything."""

    scope: Scope
    among: frozenset[UUID]

    @classmethod
    def of(cls, session: Session, principal: Principal) -> "AccessSnapshot":
        """Return what a principal sees now; this takes one statement, unless the principal sees everything."""
        model = _BOUNDED_BY.get(principal.scope)
        if model is None:
            return cls(principal.scope, frozenset())
        rows = session.scalars(select(model.id).where(visible_to(principal, model)).limit(_MOST))
        return cls(principal.scope, frozenset(rows))

    def covers(self, scope: str | None, among: Sequence[UUID] | None) -> bool:
        """Return whether this includes all that a report's requester saw when the report was made."""
        if scope is None:
            return False
        return self.scope is Scope.ALL or (self.scope == scope and self.among >= frozenset(among or ()))

    def digest(self) -> bytes:
        """Return a hash that identifies this snapshot."""
        content = "\n".join((self.scope.value, *sorted(map(str, self.among))))
        return hashlib.blake2b(content.encode(), digest_size=DIGEST_BYTES).digest()
