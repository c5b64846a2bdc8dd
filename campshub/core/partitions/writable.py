"""How far back monthly tables accept writes: such months are not archived, and are created when needed."""

from collections.abc import Callable
from datetime import date

from campshub.config import Settings
from campshub.core.dates import add_months
from campshub.core.db.models import Base, MonthlyTenantBase

Months = Callable[[Settings], int]
_months: dict[str, Months] = {}


def stays_writable(tag: str, months: Months) -> None:
    """Register how many months back the monthly tables of a tag accept rows."""
    _months[tag] = months


def first_writable(settings: Settings, tag: str, today: date) -> date | None:
    """Return the first month whose rows may be written; None for a tag without a registration."""
    months = _months.get(tag)
    return add_months(today, -months(settings)) if months is not None else None


def months_to_keep(settings: Settings, table: str) -> int:
    """Return for how many months a table's rows stay in the database, if archiving is enabled."""
    months = _months.get(tag_of(table) or "")
    return max(settings.retention_months, months(settings) if months is not None else 0)


def tag_of(table: str | None) -> str | None:
    """Return the tag of a monthly table; None for any other table."""
    return next((model.__tag__ for model in _monthly() if model.__tablename__ == table), None)


def tables_of(tag: str) -> list[str]:
    """Return the monthly tables of a tag: one write needs the month in all of them."""
    return sorted(model.__tablename__ for model in _monthly() if model.__tag__ == tag)


def _monthly() -> list[type[MonthlyTenantBase]]:
    models = (mapper.class_ for mapper in Base.registry.mappers)
    return [model for model in models if issubclass(model, MonthlyTenantBase)]
