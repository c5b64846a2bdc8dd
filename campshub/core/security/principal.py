"""The principal: the authenticated caller in one organization, and the rows that the principal may see."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache, cached_property, lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, Uuid, and_, false, true

from campshub.core.db.models import PLATFORM_ID
from campshub.core.db.prepared import QueryArgument, placeholder
from campshub.core.security.permissions import GRANTS, Grant, Permission, Scope

# The id of no user: it selects no rows.
_NO_USER = uuid.UUID(int=0)


@dataclass(frozen=True)
class Principal(QueryArgument):
    """A user in the organization that their token is for, or a key that acts for the user who made it."""

    user_id: uuid.UUID
    organization_id: uuid.UUID
    # The name of a built-in role, or ``CUSTOM``.
    role: str
    time_zone: str
    session_id: uuid.UUID | None = None
    # The grant of a custom role or a key; None: that of the built-in role.
    own_grant: Grant | None = None
    api_key_id: uuid.UUID | None = None

    @cached_property
    def grant(self) -> Grant:
        """The principal's permissions and scope."""
        return self.own_grant or GRANTS[self.role]

    @property
    def permissions(self) -> frozenset[Permission]:
        """The principal's permissions."""
        return self.grant.permissions

    @property
    def scope(self) -> Scope:
        """The principal's scope."""
        return self.grant.scope

    def may(self, permission: Permission) -> bool:
        """Return whether the principal has a permission."""
        return permission in self.grant.permissions

    def today(self, now: datetime) -> date:
        """Return the organization's local date at a point in time."""
        return now.astimezone(ZoneInfo(self.time_zone)).date()

    def without_user(self, scope: Scope) -> "Principal":
        """Return a principal of the organization with a scope: no user, no role, no permissions, no time zone."""
        none: Any = None  # nothing that is shared by several callers may depend on these
        return Principal(_NO_USER, self.organization_id, none, none, own_grant=Grant(_UnknownPermissions(), scope))

    def shape(self) -> Scope:
        """Return what the SQL of a statement depends on: only the scope, nothing else of the role."""
        return self.grant.scope

    def placeholder(self) -> "Principal":
        """Return the placeholder in prepared statements for all principals of this scope."""
        return _placeholder(self.grant.scope)

    def values(self) -> dict[str, Any]:
        """Return the values of the placeholder's parameters."""
        return {"principal_user_id": self.user_id, "principal_organization_id": self.organization_id}


class _UnknownPermissions(frozenset[Permission]):
    """The permissions of a placeholder, or of a principal that stands for several callers."""

    def __contains__(self, _permission: object) -> bool:
        """Refuse: the result is used for other callers, who may have other permissions.

        :raises TypeError: always.
        """
        raise TypeError("a shared result depends on permissions; pass what they decide as an argument")


@cache
def _placeholder(scope: Scope) -> Principal:
    user_id, organization_id = (placeholder(f"principal_{name}", Uuid()) for name in ("user_id", "organization_id"))
    # No role, time zone or session: a statement that depends on one would be wrong for the next caller.
    none: Any = None
    return Principal(user_id, organization_id, none, none, own_grant=Grant(_UnknownPermissions(), scope))


Rule = Callable[[Principal], ColumnElement[bool]]
_rules: dict[tuple[type, Scope], Rule] = {}
_shared: set[type] = set()


def visibility(model: type, scope: Scope) -> Callable[[Rule], Rule]:
    """Register which rows of a table principals of a scope see; modules call it next to their queries."""

    def register(rule: Rule) -> Rule:
        _rules[model, scope] = rule
        return rule

    return register


def everyone_sees(model: type) -> None:
    """Register a table whose rows are visible to every role of the organization."""
    for scope in Scope:
        _rules[model, scope] = lambda _principal: true()


def shared_with_platform(model: type) -> None:
    """Register a table whose rows of the platform organization are visible to every organization."""
    everyone_sees(model)
    _shared.add(model)
    shared_tags.cache_clear()


@cache
def shared_tags() -> frozenset[str]:
    """Return the tags of the tables with rows of the platform organization."""
    return frozenset(model.__tag__ for model in _shared)  # type: ignore[attr-defined] # a table's class


@lru_cache(maxsize=10_000)
def stamp_names(organization: str, tags: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of the stamps of an organization's tags, and of the platform's for shared tags."""
    shared, names = shared_tags(), []
    for tag in tags:
        names.append(f"{organization}:{tag}")
        if tag in shared:
            names.append(f"{PLATFORM_ID}:{tag}")
    return tuple(names)


def visible_to(principal: Principal, model: Any) -> ColumnElement[bool]:
    """Return the condition under which the principal sees a row; every read uses it.

    Without a rule for the table and scope, no row is visible.
    """
    own: ColumnElement[bool] = model.organization_id == principal.organization_id
    if model in _shared:
        own = model.organization_id.in_((principal.organization_id, PLATFORM_ID))
    if principal.scope is Scope.ALL:
        return own
    rule = _rules.get((model, principal.scope))
    return and_(own, rule(principal)) if rule else false()
