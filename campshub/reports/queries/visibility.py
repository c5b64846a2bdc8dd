"""Whose reports a principal sees: a user their own, a user who may change the organization all, an API key its own.

A report shows what its requester was allowed to see, so users who see less cannot download it.
"""

from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, and_, false, true

from campshub.core.security.permissions import Permission, Scope
from campshub.core.security.principal import Principal, visible_to
from campshub.reports.models import Report, ReportSchedule


class Reach(StrEnum):
    """Whose reports are visible."""

    ALL = "all"
    OWN = "own"
    KEY = "key"


def reach_of(principal: Principal) -> Reach:
    """Return whose reports the principal sees."""
    if principal.api_key_id is not None:
        return Reach.KEY
    manages_organization = principal.scope is Scope.ALL and principal.may(Permission.ORGANIZATION_WRITE)
    return Reach.ALL if manages_organization else Reach.OWN


def reports_of(principal: Principal, reach: Reach, api_key_id: Any) -> ColumnElement[bool]:
    """Return the condition that selects the reports that the principal sees."""
    seen = visible_to(principal, Report)
    if reach is Reach.KEY:
        return and_(seen, Report.user_id == principal.user_id, Report.api_key_id == api_key_id)
    return and_(seen, Report.user_id == principal.user_id if reach is Reach.OWN else true())


def schedules_of(principal: Principal, reach: Reach) -> ColumnElement[bool]:
    """Return the condition that selects the schedules that the principal sees; a key sees none."""
    own = ReportSchedule.user_id == principal.user_id
    whose = {Reach.ALL: true(), Reach.OWN: own, Reach.KEY: false()}
    return and_(visible_to(principal, ReportSchedule), whose[reach])
