"""How far someone sees at a moment: kept with a report, so that nobody has it later who sees less."""

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
# What one who does not see everything is bound to. Nobody trains so many groups, or is so many students.
_BOUND_TO: dict[Scope, Any] = {Scope.GROUPS: Group, Scope.OWN: Student}
_MOST = 10_000


@dataclass(frozen=True)
class AccessSnapshot:
    """A scope, and the groups or students that it means for one person; none where it means all."""

    scope: Scope
    among: frozenset[UUID]

    @classmethod
    def of(cls, session: Session, principal: Principal) -> "AccessSnapshot":
        """Return how far a principal sees now; it takes a statement, but for those who see everything."""
        model = _BOUND_TO.get(principal.scope)
        if model is None:
            return cls(principal.scope, frozenset())
        rows = session.scalars(select(model.id).where(visible_to(principal, model)).limit(_MOST))
        return cls(principal.scope, frozenset(rows))

    def covers(self, scope: str | None, among: Sequence[UUID] | None) -> bool:
        """Tell whether it reaches as far as that of a report's asker did when the report was made."""
        if scope is None:
            return False
        return self.scope is Scope.ALL or (self.scope == scope and self.among >= frozenset(among or ()))

    def digest(self) -> bytes:
        """Return what tells it from any other."""
        words = "\n".join((self.scope.value, *sorted(map(str, self.among))))
        return hashlib.blake2b(words.encode(), digest_size=DIGEST_BYTES).digest()
