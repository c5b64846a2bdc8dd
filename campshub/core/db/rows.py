"""Take one row to change it."""

from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import select

from campshub.core.db.base import MonthlyTenantBase, TenantBase
from campshub.core.db.session import Session
from campshub.core.http.conditional import Versions, require_version
from campshub.core.http.problems import NotFound
from campshub.core.security.principal import Principal, visible_to

T = TypeVar("T", bound=TenantBase | MonthlyTenantBase)


def lock(
    session: Session,
    principal: Principal,
    model: type[T],
    row_id: UUID,
    *conditions: Any,
    expected: Versions = None,
) -> T:
    """Return a row that the principal sees, locked until the unit of work ends.

    :raises NotFound: the principal sees no such row.
    :raises PreconditionFailed: it has another version than the caller expects.
    """
    entity = session.scalars(
        select(model)
        .where(visible_to(principal, model), model.organization_id == principal.organization_id)
        .where(model.id == row_id, *conditions)
        .with_for_update(of=model)
    ).one_or_none()
    if entity is None:
        raise NotFound
    require_version(entity, expected)
    return entity
