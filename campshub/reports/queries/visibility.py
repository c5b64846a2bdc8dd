"""Whose reports someone sees: their own; all of the organization's who may change the organization; a key its own.

A report shows what its asker was allowed to see, so it is nobody's who sees less.
"""

from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, and_, true

from campshub.core.security.permissions import Permission, Scope
from campshub.core.security.principal import Principal, visible_to
from campshub.reports.models import Report, ReportSchedule

_WIDTHS = {Scope.OWN: 0, Scope.GROUPS: 1, Scope.ALL: 2}


class Reach(StrEnum):
    """Whose reports are shown."""

    ALL = "all"
    OWN = "own"
    KEY = "key"


def reach_of(principal: Principal) -> Reach:
    """Return whose reports the principal sees."""
    if principal.api_key_id is not None:
        return Reach.KEY
    runs_the_place = principal.scope is Scope.ALL and principal.may(Permission.ORGANIZATION_WRITE)
    return Reach.ALL if runs_the_place else Reach.OWN


def reports_of(principal: Principal, reach: Reach, api_key_id: Any) -> ColumnElement[bool]:
    """Return the condition under which a report is one that the principal sees."""
    seen = visible_to(principal, Report)
    if reach is Reach.KEY:
        return and_(seen, Report.user_id == principal.user_id, Report.api_key_id == api_key_id)
    return and_(seen, Report.user_id == principal.user_id if reach is Reach.OWN else true())


def schedules_of(principal: Principal, reach: Reach) -> ColumnElement[bool]:
    """Return the condition under which a schedule is one that the principal sees: a key, those of who made it."""
    own = ReportSchedule.user_id == principal.user_id
    return and_(visible_to(principal, ReportSchedule), true() if reach is Reach.ALL else own)


def sees_as_far(principal: Principal, scope: str | None) -> bool:
    """Tell whether someone sees as far as the asker of a report did when it was made."""
    return scope is not None and _WIDTHS[principal.scope] >= _WIDTHS[Scope(scope)]
