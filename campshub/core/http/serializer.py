"""The compiled serializer: marshmallow declares the fields of a response, orjson writes them.

A schema is compiled once to the attribute names and the few conversions that orjson does not have. Each row then costs
one tuple and one dict.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from operator import attrgetter, itemgetter
from typing import Any

from marshmallow import Schema, fields
from sqlalchemy import Row

from campshub.core.http.schemas.fields import Stored

Convert = Callable[[Any], Any]


class Serializer:
    """Converts rows, entities or mappings to the fields of a schema, or to the attributes in ``only``."""

    def __init__(self, schema: Schema, only: frozenset[str] | None = None) -> None:
        dumped = [(name, f) for name, f in schema.fields.items() if not f.load_only]
        if only is not None:
            dumped = [(name, f) for name, f in dumped if (f.attribute or name) in only]
        self.names = tuple(f.data_key or name for name, f in dumped)
        self.attributes = tuple(f.attribute or name for name, f in dumped)
        self._from_entity = _several(attrgetter, self.attributes)
        self._from_mapping = _several(itemgetter, self.attributes)
        self._picks: dict[tuple[str, ...], Callable[[Any], Any] | None] = {}
        self._conversions = [(index, c) for index, (_, f) in enumerate(dumped) if (c := _conversion(f)) is not None]

    def one(self, thing: Any) -> dict[str, Any]:
        """Return one object as plain values."""
        values = self._from_mapping(thing) if isinstance(thing, Mapping) else self._from_entity(thing)
        if self._conversions:
            values = list(values)
            for index, convert in self._conversions:
                if values[index] is not None:
                    values[index] = convert(values[index])
        return dict(zip(self.names, values, strict=True))

    def many(self, things: Sequence[Any]) -> list[dict[str, Any]]:
        """Return several objects of one type; rows with exactly the fields in their order are the fastest."""
        if not things:
            return []
        first = things[0]
        if self._conversions or not isinstance(first, Row):
            return [self.one(thing) for thing in things]
        pick, names = self._pick(tuple(first._fields)), self.names
        if pick is None:
            return [dict(zip(names, row)) for row in things]  # noqa: B905 - further columns are the sort values of a page
        return [dict(zip(names, pick(row))) for row in things]  # noqa: B905 - as many as there are names

    def _pick(self, columns: tuple[str, ...]) -> Callable[[Any], Any] | None:
        """Return a getter of the attributes of a row; None if a row starts with them in their order."""
        if columns not in self._picks:
            indexes = tuple(columns.index(name) for name in self.attributes)
            self._picks[columns] = None if columns[: len(indexes)] == self.attributes else _several(itemgetter, indexes)
        return self._picks[columns]


def _several(getter: Any, names: Sequence[Any]) -> Callable[[Any], Any]:
    """Return a getter that returns a tuple, also for a single name."""
    if len(names) == 1:
        get_one = getter(names[0])
        return lambda thing: (get_one(thing),)
    get_all: Callable[[Any], Any] = getter(*names)
    return get_all


def _conversion(field: fields.Field[Any]) -> Convert | None:
    """Return the conversion of a field that orjson lacks: of a nested schema, or of a list of them."""
    if isinstance(getattr(field, "inner", field), Stored):
        return None
    if isinstance(field, fields.Nested):
        nested = Serializer(field.schema)
        return nested.many if field.many else nested.one
    if isinstance(field, fields.List) and isinstance(field.inner, fields.Nested):
        return Serializer(field.inner.schema).many
    return None


@lru_cache(maxsize=512)
def serializer_of(schema: type[Schema], only: frozenset[str] | None = None) -> Serializer:
    """Return the compiled serializer of a schema, or of some of its fields."""
    return Serializer(schema(), only)
