"""Who asks: the signed-in user in one organization, and which rows they may see."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache, cached_property
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, Uuid, and_, false, true

from campshub.core.db.models import PLATFORM_ID
from campshub.core.db.prepared import QueryArgument, placeholder
from campshub.core.security.permissions import GRANTS, Grant, Permission, Scope


@dataclass(frozen=True)
class Principal(QueryArgument):
    """A user in the organization that their token is for, or a key that acts for the user who made it."""

    user_id: uuid.UUID
    organization_id: uuid.UUID
    # A built-in role's name, or that the role is one of the organization's own.
    role: str
    time_zone: str
    session_id: uuid.UUID | None = None
    # What an own role or a key allows; none: what the built-in role does.
    own_grant: Grant | None = None
    api_key_id: uuid.UUID | None = None

    @cached_property
    def grant(self) -> Grant:
        """What they may do, and how far they see."""
        return self.own_grant or GRANTS[self.role]

    @property
    def permissions(self) -> frozenset[Permission]:
        """What they may do."""
        return self.grant.permissions

    @property
    def scope(self) -> Scope:
        """How far they see."""
        return self.grant.scope

    def may(self, permission: Permission) -> bool:
        """Tell whether the principal has a permission."""
        return permission in self.grant.permissions

    def today(self, now: datetime) -> date:
        """Return the organization's own calendar date at an instant."""
        return now.astimezone(ZoneInfo(self.time_zone)).date()

    def shape(self) -> Scope:
        """Return what a statement of theirs depends on: how far they see, and nothing else of their role."""
        return self.grant.scope

    def placeholder(self) -> "Principal":
        """Return who stands in a prepared statement for everyone who sees as far."""
        return _anyone(self.grant.scope)

    def values(self) -> dict[str, Any]:
        """Return the values that the stand-in leaves open."""
        return {"principal_user_id": self.user_id, "principal_organization_id": self.organization_id}


class _Untold(frozenset[Permission]):
    """The permissions of a stand-in."""

    def __contains__(self, _permission: object) -> bool:
        """Refuse: what is written for one caller serves the next, who may have others.

        :raises TypeError: always.
        """
        raise TypeError("a prepared statement depends on permissions; hand over what they decide as an argument")


@cache
def _anyone(scope: Scope) -> Principal:
    user_id, organization_id = (placeholder(f"principal_{name}", Uuid()) for name in ("user_id", "organization_id"))
    # Neither a role, a zone nor a session: a statement that depended on one would be wrong for the next caller.
    nobody: Any = None
    return Principal(user_id, organization_id, nobody, nobody, own_grant=Grant(_Untold(), scope))


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
    """Return the tags of the tables that hold rows of the services."""
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
