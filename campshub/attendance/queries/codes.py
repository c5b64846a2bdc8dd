"""Reads of attendance codes."""

from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, exists, or_, select
from sqlalchemy.orm import aliased

from campshub.attendance.models import AttendanceCode
from campshub.attendance.queries import visibility as _rules  # noqa: F401 - registers the visibility rules
from campshub.core.db.models import AnyRow
from campshub.core.db.prepared import AnySelect, prepared
from campshub.core.db.session import Session
from campshub.core.errors import NotFound
from campshub.core.paging import Page, PageRequest
from campshub.core.security.principal import Principal, visible_to

COLUMNS = (
    AttendanceCode.id,
    AttendanceCode.key,
    AttendanceCode.label,
    AttendanceCode.counts_as,
    AttendanceCode.in_rate,
    AttendanceCode.position,
    AttendanceCode.is_archived,
    AttendanceCode.created_at,
    AttendanceCode.updated_at,
    AttendanceCode.version,
)
MOST_CODES = 500


def in_force(principal: Principal) -> ColumnElement[bool]:
    """Return the condition that a code is in the organization's list: its own codes and the defaults not replaced."""
    own = aliased(AttendanceCode)
    replaced = exists(
        select(1)
        .select_from(own)
        .where(own.organization_id == principal.organization_id, own.key == AttendanceCode.key)
        .correlate(AttendanceCode)
    )
    return and_(
        visible_to(principal, AttendanceCode),
        or_(AttendanceCode.organization_id == principal.organization_id, ~replaced),
    )


def list_codes(session: Session, principal: Principal, *, archived: bool, page: PageRequest) -> Page:
    """List the organization's codes by position."""
    return page.read(session, _listed(principal, archived=archived, page=page))


@prepared
def _listed(principal: Principal, *, archived: bool, page: PageRequest) -> AnySelect:
    rows = select(*page.choose(_columns(principal))).where(
        in_force(principal), AttendanceCode.is_archived.is_(archived)
    )
    return page.ordered(rows, order=(AttendanceCode.position, AttendanceCode.id))


def get_code(session: Session, principal: Principal, code_id: UUID) -> AnyRow:
    """Return one of the organization's codes.

    :raises NotFound: there is no such code.
    """
    row = session.execute(_one(principal, code_id=code_id)).one_or_none()
    if row is None:
        raise NotFound
    return row


@prepared
def _one(principal: Principal, *, code_id: UUID) -> AnySelect:
    return select(*_columns(principal)).where(in_force(principal), AttendanceCode.id == code_id)


def usable(principal: Principal) -> Select[str, str, bool]:
    """Return the query of the codes in use: key, what it counts as, whether it counts in the rate."""
    return (
        select(AttendanceCode.key, AttendanceCode.counts_as, AttendanceCode.in_rate)
        .where(in_force(principal), AttendanceCode.is_archived.is_(False))
        .limit(MOST_CODES)
    )


def _columns(principal: Principal) -> tuple[Any, ...]:
    return (*COLUMNS, (AttendanceCode.organization_id != principal.organization_id).label("is_default"))
