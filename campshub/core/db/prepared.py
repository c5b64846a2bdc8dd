"""Statements that are written once for each shape of a question, and asked again with other values.

Building a select, walking it for its cache key and binding it takes longer than PostgreSQL takes to answer it. What
differs from one request to the next is mostly the values; the *shape* (the role of who asks, which filters are given,
the order, the fields) is one of a few. A function marked with ``prepared`` writes the select of a shape. It is called
once for each, and it is handed stand-ins in place of the values, so that it cannot put one caller's values into a
statement that another caller's request will use.
"""

import re
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import Enum
from typing import Any, cast

from psycopg import Connection, sql
from psycopg.pq import Escaping
from sqlalchemy import ARRAY, BindParameter, Date, DateTime, Select, Text, Uuid, bindparam
from sqlalchemy.dialects.postgresql import psycopg
from sqlalchemy.engine.result import SimpleResultMetaData

# A select of any columns.
AnySelect = Select[*tuple[Any, ...]]

MOST_SHAPES = 256
_LEFT_OPEN = object()
_PLACE = re.compile(r"%\((\w+)\)s")
_DIALECT: Any = psycopg.dialect()  # type: ignore[no-untyped-call]
_TYPES: dict[type, Any] = {str: Text(), uuid.UUID: Uuid(), date: Date(), datetime: DateTime(timezone=True), int: None}


class QueryArgument(ABC):
    """An argument with a shape and values of its own, such as who asks, or which page."""

    @abstractmethod
    def shape(self) -> Hashable:
        """Return what the statement depends on."""

    @abstractmethod
    def placeholder(self) -> Any:
        """Return what the statement is written with."""

    @abstractmethod
    def values(self) -> Mapping[str, Any]:
        """Return the values by the names that the stand-in gave them."""


def placeholder(name: str, type_: Any = None) -> Any:
    """Return what stands in a statement for a value that each request brings."""
    return bindparam(name, _LEFT_OPEN, type_=type_)


class Statement:
    """The select of one shape, compiled: the text between the values, and the names of what comes back."""

    def __init__(self, select: AnySelect) -> None:
        self.select = select
        compiled = select.compile(dialect=_DIALECT, compile_kwargs={"render_postcompile": True})
        self.text = str(compiled)
        words = _PLACE.split(self.text)
        self._texts = [word.replace("%%", "%").encode() for word in words[::2]]
        self._names = words[1::2]
        self._fixed = {
            name: _processed(bind, compiled.params[name])
            for name, bind in _binds(compiled.binds, set(self._names), compiled.params).items()
        }
        self._settled: tuple[list[bytes], list[str]] | None = None
        self._columns = list(select.selected_columns)
        self._is_checked = False
        self.keys = SimpleResultMetaData([str(column.key) for column in select.selected_columns])

    def write(self, values: Mapping[str, Any], connection: "Connection[Any]") -> bytes:
        """Return the statement with its values, as one connection's server reads them."""
        escaping = Escaping(connection.pgconn)
        if self._settled is None:
            self._settled = self._settle(connection)
        texts, names = self._settled
        parts = [texts[0]]
        for name, following in zip(names, texts[1:], strict=True):
            parts.append(_literal(values[name], escaping))
            parts.append(following)
        return b"".join(parts)

    def check(self, oids: Sequence[int]) -> None:
        """Make sure, with the first answer, that what the driver returns is what SQLAlchemy would return.

        :raises TypeError: it would make something else of a column.
        """
        if self._is_checked:
            return
        for column, oid in zip(self._columns, oids, strict=True):
            if _is_converted(column.type, oid):
                raise TypeError(f"{column.key} needs a conversion that the driver does not make")
        self._is_checked = True

    def _settle(self, connection: "Connection[Any]") -> tuple[list[bytes], list[str]]:
        """Write the values that belong to the shape; return the texts and the names of the values between them."""
        texts, names = [self._texts[0]], []
        for name, following in zip(self._names, self._texts[1:], strict=True):
            if name in self._fixed:
                texts[-1] += sql.Literal(self._fixed[name]).as_bytes(connection) + following
            else:
                names.append(name)
                texts.append(following)
        return texts, names


def _binds(
    binds: Mapping[str, BindParameter[Any]], names: set[str], values: Mapping[str, Any]
) -> dict[str, BindParameter[Any]]:
    """Return the parameters whose values belong to the shape; a list's members are numbered after its name."""
    found = {}
    for name in names:
        bind = binds[name if name in binds else name.rpartition("_")[0]]
        if bind.value is not _LEFT_OPEN:
            found[name] = bind
    if missing := found.keys() - values.keys():
        raise TypeError(f"no value for {sorted(missing)}")
    return found


def _processed(bind: BindParameter[Any], value: Any) -> Any:
    process = bind.type.dialect_impl(_DIALECT).bind_processor(_DIALECT)
    return process(value) if process else value


def _is_converted(type_: Any, oid: int) -> bool:
    """Tell whether SQLAlchemy makes something else of what the driver returns; of a list, of what is in it."""
    if isinstance(type_, ARRAY):
        return _is_converted(type_.item_type, oid)
    return type_.dialect_impl(_DIALECT).result_processor(_DIALECT, oid) is not None


def _literal(value: Any, escaping: Any) -> bytes:
    """Write a value; each stands before a cast to its own type."""
    kind = type(value)
    if kind is str:
        if "\x00" in value:
            raise ValueError("PostgreSQL cannot keep NUL")
        return bytes(escaping.escape_literal(value.encode()))
    if kind is uuid.UUID:
        return b"'%032x'" % value.int  # PostgreSQL reads it without its hyphens, too
    if kind is int:
        return b"%d" % value if value >= 0 else b"(%d)" % value
    if kind is date or kind is datetime:
        return b"'%b'" % value.isoformat().encode()
    raise TypeError(f"a statement takes no {kind.__name__}")


@dataclass(frozen=True, slots=True)
class PreparedQuery:
    """A statement with the values of one request."""

    statement: Statement
    values: Mapping[str, Any]


class Prepared:
    """A function that writes a select, and the statements that it has written."""

    def __init__(self, function: Callable[..., AnySelect]) -> None:
        self._function = function
        self._statements: dict[tuple[Any, ...], Statement] = {}
        self.__doc__, self.__name__ = function.__doc__, function.__name__

    def __call__(self, principal: QueryArgument, **given: Any) -> AnySelect:
        """Return the statement for the shape of what is asked, with its values; it passes for a select."""
        values = dict(principal.values())
        shape: list[Any] = [principal.shape()]
        for name, value in given.items():
            kind = type(value)
            if kind in _TYPES:
                values["given_" + name] = value
                shape.append((name, kind))
            elif value is None or kind in (bool, frozenset) or isinstance(value, Enum):
                shape.append((name, value))
            elif isinstance(value, QueryArgument):
                values.update(value.values())
                shape.append((name, value.shape()))
            else:
                raise TypeError(f"{name} is neither a value nor a part of the shape")
        key = tuple(shape)
        statement = self._statements.get(key)
        if statement is None:
            statement = self._statements[key] = self._write(principal, given)
            if len(self._statements) > MOST_SHAPES:  # whoever asks may choose among very many sets of fields
                self._statements.pop(next(iter(self._statements)), None)
        return cast("AnySelect", PreparedQuery(statement, values))

    def _write(self, principal: QueryArgument, given: Mapping[str, Any]) -> Statement:
        stand_ins = {}
        for name, value in given.items():
            if type(value) in _TYPES:
                stand_ins[name] = placeholder("given_" + name, _TYPES[type(value)])
            else:
                stand_ins[name] = value.placeholder() if isinstance(value, QueryArgument) else value
        return Statement(self._function(principal.placeholder(), **stand_ins))


def prepared(function: Callable[..., AnySelect]) -> Prepared:
    """Mark a function that writes a select from who asks and what is asked, as a statement for each shape.

    What it is handed are stand-ins, except for what belongs to the shape: None, booleans, sets of names, enums.
    """
    return Prepared(function)
