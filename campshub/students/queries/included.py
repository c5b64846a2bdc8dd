"""Properties of students in lists that only callers who ask for them get: modules register how each one is read."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from sqlalchemy import ColumnElement

from campshub.core.security.permissions import Permission
from campshub.core.security.principal import Principal
from campshub.students.models import Student

# Returns the column, for a query of students, of the caller and of today.
Column = Callable[[Principal, Any], ColumnElement[Any]]


@dataclass(frozen=True)
class Property:
    """A property, the permission that it needs, and its column."""

    permission: Permission
    column: Column


# The names are fixed, because schemas are compiled before all modules have registered their columns.
NAMES = ("has_medical_note", "last_seen_on")
_properties: dict[str, Property] = {}
_tags: dict[str, Sequence[str]] = dict.fromkeys(NAMES, ())
# By property: the tags of the tables that it reads beside those of students. Modules register at import.
TAGS: Mapping[str, Sequence[str]] = MappingProxyType(_tags)


def includable(name: str, *, permission: Permission, tags: Sequence[str] = ()) -> Callable[[Column], Column]:
    """Register a property in ``NAMES``; a higher module calls it, so that students need not know its tables."""

    def register(column: Column) -> Column:
        if name not in NAMES:
            raise KeyError(name)
        _properties[name], _tags[name] = Property(permission, column), tags
        return column

    return register


@includable("has_medical_note", permission=Permission.MEDICAL_READ)
def _has_medical_note(_principal: Principal, _today: Any) -> ColumnElement[bool]:
    return Student.medical_note.is_not(None)


def permission_of(name: str) -> Permission:
    """Return the permission that a property needs."""
    return _properties[name].permission


def columns(principal: Principal, today: Any, names: frozenset[str]) -> list[ColumnElement[Any]]:
    """Return the columns of some properties, in the order of the schema."""
    return [one.column(principal, today).label(name) for name, one in sorted(_properties.items()) if name in names]
