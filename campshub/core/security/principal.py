"""Who asks: the signed-in user in one organization, and which rows they may see."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache, cached_property
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, Uuid, and_, false, true

from campshub.core.db.base import PLATFORM_ID
from campshub.core.db.prepared import Shaped, stand_in
from campshub.core.security.permissions import ROLES, SCOPES, Permission, Role, Scope


@dataclass(frozen=True)
class Principal(Shaped):
    """A user in the organization that their token is for."""

    user_id: uuid.UUID
    organization_id: uuid.UUID
    role: Role
    time_zone: str
    session_id: uuid.UUID | None = None

    @cached_property
    def permissions(self) -> frozenset[Permission]:
        """What the role may do."""
        return ROLES[self.role]

    @cached_property
    def scope(self) -> Scope:
        """How far the role sees."""
        return SCOPES[self.role]

    def may(self, permission: Permission) -> bool:
        """Tell whether the principal has a permission."""
        return permission in self.permissions

    def today(self, now: datetime) -> date:
        """Return the organization's own calendar date at an instant."""
        return now.astimezone(ZoneInfo(self.time_zone)).date()

    def shape(self) -> Role:
        """Return what a statement of theirs depends on."""
        return self.role

    def stand_in(self) -> "Principal":
        """Return who stands in a prepared statement for everyone of the role."""
        return _anyone(self.role)

    def values(self) -> dict[str, Any]:
        """Return the values that the stand-in leaves open."""
        return {"principal_user_id": self.user_id, "principal_organization_id": self.organization_id}


@cache
def _anyone(role: Role) -> Principal:
    user_id, organization_id = (stand_in(f"principal_{name}", Uuid()) for name in ("user_id", "organization_id"))
    # Neither a zone nor a session: a statement that depended on one would be wrong for the next caller.
    return Principal(user_id, organization_id, role, time_zone=None, session_id=None)  # type: ignore[arg-type]


Rule = Callable[[Principal], ColumnElement[bool]]
_rules: dict[tuple[type, Scope], Rule] = {}
_shared: set[type] = set()


def visibility(model: type, scope: Scope) -> Callable[[Rule], Rule]:
    """Register what principals of a scope see of a table; modules call it beside their reads."""

    def register(rule: Rule) -> Rule:
        _rules[model, scope] = rule
        return rule

    return register


def everyone_sees(model: type) -> None:
    """Register a table that every role sees whole, within its organization."""
    for scope in Scope:
        _rules[model, scope] = lambda _principal: true()


def shared_with_platform(model: type) -> None:
    """Register a table whose platform rows every organization reads."""
    everyone_sees(model)
    _shared.add(model)
    shared_tags.cache_clear()


@cache
def shared_tags() -> frozenset[str]:
    """Return the tags of the tables that hold rows of the platform."""
    return frozenset(model.__tag__ for model in _shared)  # type: ignore[attr-defined] # a table's class


def visible_to(principal: Principal, model: Any) -> ColumnElement[bool]:
    """Return the condition under which the principal sees a row: every read starts here.

    What no rule names is not seen.
    """
    own: ColumnElement[bool] = model.organization_id == principal.organization_id
    if model in _shared:
        own = model.organization_id.in_((principal.organization_id, PLATFORM_ID))
    if principal.scope is Scope.ALL:
        return own
    rule = _rules.get((model, principal.scope))
    return and_(own, rule(principal)) if rule else false()
