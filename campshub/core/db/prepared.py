"""Statements that are compiled once for each shape of a query, and run again with other values.

Building a select, computing its cache key and binding it takes longer than PostgreSQL takes to run it. Requests differ
mostly in the values; the *shape* (the caller's role, which filters are used, the order, the fields) is one of a few. A
function decorated with ``prepared`` builds the select of a shape. It is called once for each shape, with placeholders
instead of values, so that it cannot put one caller's values into a statement that another caller's request will use.
"""

import re
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import Enum
from typing import Any

from psycopg import Connection, sql
from psycopg.pq import Escaping
from sqlalchemy import ARRAY, BindParameter, Date, DateTime, Select, Text, Uuid, bindparam
from sqlalchemy import Executable as SqlExecutable
from sqlalchemy.dialects.postgresql import psycopg
from sqlalchemy.engine.result import SimpleResultMetaData

# A select with any columns.
AnySelect = Select[*tuple[Any, ...]]

MOST_SHAPES = 256
_UNBOUND = object()
_PARAMETER = re.compile(r"%\((\w+)\)s")
_DIALECT: Any = psycopg.dialect()  # type: ignore[no-untyped-call]
_TYPES: dict[type, Any] = {str: Text(), uuid.UUID: Uuid(), date: Date(), datetime: DateTime(timezone=True), int: None}


class QueryArgument(ABC):
    """An argument with a shape and values of its own, such as the principal or the page."""

    @abstractmethod
    def shape(self) -> Hashable:
        """Return the part of the argument that the statement's text depends on."""

    @abstractmethod
    def placeholder(self) -> Any:
        """Return the placeholder with which the statement is built."""

    @abstractmethod
    def values(self) -> Mapping[str, Any]:
        """Return the values by the names of the placeholder's parameters."""


def placeholder(name: str, type_: Any = None) -> Any:
    """Return the parameter of a value that differs from request to request."""
    return bindparam(name, _UNBOUND, type_=type_)


class Statement:
    """The compiled select of one shape: the SQL text between the values, and the names of the result columns."""

    def __init__(self, select: AnySelect) -> None:
        self.select = select
        compiled = select.compile(dialect=_DIALECT, compile_kwargs={"render_postcompile": True})
        self.text = str(compiled)
        parts = _PARAMETER.split(self.text)
        self._texts = [part.replace("%%", "%").encode() for part in parts[::2]]
        self._names = parts[1::2]
        self._fixed = {
            name: _processed(bind, compiled.params[name])
            for name, bind in _binds(compiled.binds, set(self._names), compiled.params).items()
        }
        self._variable: tuple[list[bytes], list[str]] | None = None
        self._columns = list(select.selected_columns)
        self._is_checked = False
        self.keys = SimpleResultMetaData([str(column.key) for column in select.selected_columns])

    def write(self, values: Mapping[str, Any], connection: "Connection[Any]") -> bytes:
        """Return the statement with its values as literals, escaped for one connection's server."""
        escaping = Escaping(connection.pgconn)
        if self._variable is None:
            self._variable = self._insert_fixed(connection)
        texts, names = self._variable
        parts = [texts[0]]
        for name, following in zip(names, texts[1:], strict=True):
            parts.append(_literal(values[name], escaping))
            parts.append(following)
        return b"".join(parts)

    def check(self, oids: Sequence[int]) -> None:
        """Check once, with the first result, that the driver returns the same values as SQLAlchemy would.

        :raises TypeError: SQLAlchemy would convert the values of a column.
        """
        if self._is_checked:
            return
        for column, oid in zip(self._columns, oids, strict=True):
            if _is_converted(column.type, oid):
                raise TypeError(f"{column.key} needs a conversion that the driver does not make")
        self._is_checked = True

    def _insert_fixed(self, connection: "Connection[Any]") -> tuple[list[bytes], list[str]]:
        """Insert the values that belong to the shape; return the texts, and the names of the values between them."""
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
        if bind.value is not _UNBOUND:
            found[name] = bind
    if missing := found.keys() - values.keys():
        raise TypeError(f"no value for {sorted(missing)}")
    return found


def _processed(bind: BindParameter[Any], value: Any) -> Any:
    process = bind.type.dialect_impl(_DIALECT).bind_processor(_DIALECT)
    return process(value) if process else value


def _is_converted(type_: Any, oid: int) -> bool:
    """Return whether SQLAlchemy converts what the driver returns; for a list, whether it converts the items."""
    if isinstance(type_, ARRAY):
        return _is_converted(type_.item_type, oid)
    return type_.dialect_impl(_DIALECT).result_processor(_DIALECT, oid) is not None


def _literal(value: Any, escaping: Any) -> bytes:
    """Return a value as a literal; the statement casts each one to its type."""
    kind = type(value)
    if kind is str:
        if "\x00" in value:
            raise ValueError("PostgreSQL cannot store NUL")
        return bytes(escaping.escape_literal(value.encode()))
    if kind is uuid.UUID:
        return b"'%032x'" % value.int  # PostgreSQL also accepts it without hyphens
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


# What a session runs.
Executable = SqlExecutable | PreparedQuery


class Prepared:
    """A function that builds a select, and the statements compiled from it."""

    def __init__(self, function: Callable[..., AnySelect]) -> None:
        self._function = function
        self._statements: dict[tuple[Any, ...], Statement] = {}
        self.__doc__, self.__name__ = function.__doc__, function.__name__

    def __call__(self, principal: QueryArgument, **arguments: Any) -> PreparedQuery:
        """Return the statement for the shape of the arguments, with their values; sessions run it like a select."""
        values = dict(principal.values())
        shape: list[Any] = [principal.shape()]
        for name, value in arguments.items():
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
            statement = self._statements[key] = self._write(principal, arguments)
            if len(self._statements) > MOST_SHAPES:  # clients may choose among very many sets of fields
                self._statements.pop(next(iter(self._statements)), None)
        return PreparedQuery(statement, values)

    def _write(self, principal: QueryArgument, arguments: Mapping[str, Any]) -> Statement:
        placeholders = {}
        for name, value in arguments.items():
            if type(value) in _TYPES:
                placeholders[name] = placeholder("given_" + name, _TYPES[type(value)])
            else:
                placeholders[name] = value.placeholder() if isinstance(value, QueryArgument) else value
        return Statement(self._function(principal.placeholder(), **placeholders))


def prepared(function: Callable[..., AnySelect]) -> Prepared:
    """Compile the select that a function builds from a principal and arguments once for each shape.

    The function gets placeholders, except for what belongs to the shape: None, booleans, sets of names, enums.
    """
    return Prepared(function)
