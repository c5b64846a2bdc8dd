"""The compiled serialiser: marshmallow declares an answer's fields, orjson writes them.

A schema is read once, at start, into the names to read and the few conversions that orjson does not know; what is left
for each row is one tuple and one dict.
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
    """Turns rows, entities or mappings into what a schema shows, or into those attributes ``only`` that are wanted."""

    def __init__(self, schema: Schema, only: frozenset[str] | None = None) -> None:
        shown = [(name, f) for name, f in schema.fields.items() if not f.load_only]
        if only is not None:
            shown = [(name, f) for name, f in shown if (f.attribute or name) in only]
        self.names = tuple(f.data_key or name for name, f in shown)
        self.attributes = tuple(f.attribute or name for name, f in shown)
        self._from_entity = _several(attrgetter, self.attributes)
        self._from_mapping = _several(itemgetter, self.attributes)
        self._picks: dict[tuple[str, ...], Callable[[Any], Any] | None] = {}
        self._conversions = [(index, c) for index, (_, f) in enumerate(shown) if (c := _conversion(f)) is not None]

    def one(self, thing: Any) -> dict[str, Any]:
        """Return one thing as plain values."""
        values = self._from_mapping(thing) if isinstance(thing, Mapping) else self._from_entity(thing)
        if self._conversions:
            values = list(values)
            for index, convert in self._conversions:
                if values[index] is not None:
                    values[index] = convert(values[index])
        return dict(zip(self.names, values, strict=True))

    def many(self, things: Sequence[Any]) -> list[dict[str, Any]]:
        """Return several things of one kind; rows that have just the fields in their order take the shortest way."""
        if not things:
            return []
        first = things[0]
        if self._conversions or not isinstance(first, Row):
            return [self.one(thing) for thing in things]
        pick, names = self._pick(tuple(first._fields)), self.names
        if pick is None:
            return [dict(zip(names, row)) for row in things]  # noqa: B905 - what follows is the page's own
        return [dict(zip(names, pick(row))) for row in things]  # noqa: B905 - as many as there are names

    def _pick(self, columns: tuple[str, ...]) -> Callable[[Any], Any] | None:
        """Return what takes the attributes from a row; None where a row begins with them, in their order."""
        if columns not in self._picks:
            places = tuple(columns.index(name) for name in self.attributes)
            self._picks[columns] = None if columns[: len(places)] == self.attributes else _several(itemgetter, places)
        return self._picks[columns]


def _several(getter: Any, names: Sequence[Any]) -> Callable[[Any], Any]:
    """Return a getter that answers a tuple for one name, too."""
    if len(names) == 1:
        only = getter(names[0])
        return lambda thing: (only(thing),)
    got: Callable[[Any], Any] = getter(*names)
    return got


def _conversion(field: fields.Field[Any]) -> Convert | None:
    """Return what orjson cannot do by itself for a field: nested schemas, and lists of them."""
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
    """Return the compiled serialiser of a schema, or of some of its fields."""
    return Serializer(schema(), only)
