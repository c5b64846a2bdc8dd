"""Every read of the API with each of its filters and orders, and how PostgreSQL goes about it.

The reads come from the application's own registry, the statements from a real request, and the plans from ``EXPLAIN
ANALYZE`` under the application's role with the tenant set. What is checked is counted (rows, partitions), never timed.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any
from uuid import UUID

import psycopg
from flask import Flask
from sqlalchemy import event

from campshub.core.db.session import db
from tests.conftest import Client, Place
from tests.large.data import Made
from tests.surface import Operation, operations

MONTH = re.compile(r"_p(\d{4}_\d{2})$")
READS = ("SELECT", "WITH")


@dataclass(frozen=True)
class Read:
    """One address with its parameters, asked by someone."""

    rule: str
    about: str  # the filter or order, or what else is special
    who: str
    query: str
    dates: tuple[date, date] | None = None  # the only ones whose partitions it may touch

    @property
    def name(self) -> str:
        return f"{self.rule} {self.about} as {self.who}"


@dataclass
class Plan:
    """What a statement's plan did."""

    text: str
    root: dict[str, Any]
    planning_ms: float
    execution_ms: float
    nodes: list[dict[str, Any]] = field(init=False)

    def __post_init__(self) -> None:
        self.nodes = [node for node in _nodes(self.root) if node.get("Actual Loops", 0) > 0]

    @property
    def relations(self) -> set[str]:
        """The tables and partitions that were looked into."""
        return {node["Relation Name"] for node in self.nodes if "Relation Name" in node}

    @property
    def months(self) -> set[str]:
        """The months of the partitions that were looked into, as YYYY_MM."""
        return {found[1] for relation in self.relations if (found := MONTH.search(relation))}

    @property
    def scanned(self) -> set[str]:
        """The tables that were read from end to end."""
        return {MONTH.sub("", n["Relation Name"]) for n in self.nodes if n["Node Type"] == "Seq Scan"}

    @property
    def rows(self) -> int:
        """How many rows and index entries were taken up, those thrown away again too."""
        return round(sum(_touched(node) for node in self.nodes if "Scan" in node["Node Type"] and _is_leaf(node)))

    @property
    def sorted(self) -> int:
        """How many rows went into sorts."""
        sorts = [node for node in self.nodes if node["Node Type"] in ("Sort", "Incremental Sort")]
        return round(max((_given(node["Plans"][0]) for node in sorts), default=0))

    @property
    def disabled(self) -> list[str]:
        """The nodes that were forbidden, and taken for want of anything else."""
        return [f"{node['Node Type']} {node.get('Relation Name', '')}" for node in self.nodes if node.get("Disabled")]


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from _nodes(child)


def _is_leaf(node: dict[str, Any]) -> bool:
    return "Relation Name" in node or "Index Name" in node or node["Node Type"] == "Function Scan"


def _touched(node: dict[str, Any]) -> float:
    thrown = sum(node.get(f"Rows Removed by {what}", 0) for what in ("Filter", "Index Recheck"))
    return (node["Actual Rows"] + thrown) * node["Actual Loops"]


def _given(node: dict[str, Any]) -> float:
    return node["Actual Rows"] * node["Actual Loops"]


def reads(app: Flask, ids: dict[str, str], values: dict[str, list[str]], people: list[str], made: Made) -> list[Read]:
    """Return every read: each operation as it is, with each value of each filter, and in each order."""
    found = []
    for operation in operations(app):
        if operation.method != "GET" or operation.handler.mark.is_public:
            continue
        address = operation.address(ids)
        found += [
            Read(operation.rule, about, who, f"{address}{'&' if '?' in address else '?'}{query}", dates)
            for about, query, dates in _variants(operation, values, made)
            for who in people
        ]
    return found


def _variants(
    operation: Operation, values: dict[str, list[str]], made: Made
) -> Iterator[tuple[str, str, tuple[date, date] | None]]:
    """Yield what may be asked of an operation: a name for it, its query, and the dates that it bounds."""
    mark = operation.handler.mark
    filters = operation.handler.query_schema.load_fields if operation.handler.query_schema else {}
    names = [loaded.data_key or name for name, loaded in filters.items() if not loaded.required]
    month = (made.last - timedelta(days=45), made.last - timedelta(days=20))
    bounds = f"from={month[0]}&to={month[1]}" if {"from", "to"} <= set(names) else ""
    yield "bare", "", None
    if bounds:
        yield "a month", bounds, month
    for name in names:
        for value in values.get(name, []) if name not in ("from", "to") else []:
            if bounds:
                yield f"{name}={value[:8]} in a month", f"{bounds}&{name}={value}", month
            yield f"{name}={value[:8]}", f"{name}={value}", None
    for sort in mark.sorts if mark.is_page else ():
        for way in ("", "-"):
            needed = "&q=aba" if sort == "relevance" else ""
            yield f"sort={way}{sort}", f"sort={way}{sort}{needed}", None


@contextmanager
def capturing(app: Flask) -> Iterator[list[tuple[str, Any]]]:
    """Collect the reading statements that the application sends, with their parameters."""
    caught: list[tuple[str, Any]] = []
    with app.app_context():
        engines = list(db.engines.values())

    def listen(_connection: Any, _cursor: Any, text: str, given: Any, _context: Any, _many: Any) -> None:
        if text.lstrip().startswith(READS) and "INSERT INTO" not in text:  # some reads are recorded
            caught.append((text, given))

    for engine in engines:
        event.listen(engine, "before_cursor_execute", listen)
    try:
        yield caught
    finally:
        for engine in engines:
            event.remove(engine, "before_cursor_execute", listen)


def explained(
    connection: psycopg.Connection[Any], organization_id: UUID, text: str, given: Any, *settings: str
) -> Plan:
    """Return the plan of a statement as the application's role gets it; the connection is a superuser's."""
    with connection.transaction(force_rollback=True):
        connection.execute("SET LOCAL ROLE campshub_app")
        connection.execute("SELECT set_config('app.organization_id', %s, true)", (str(organization_id),))
        for setting in settings:
            connection.execute(f"SET LOCAL {setting}")
        row = connection.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {text}", given).fetchone()
    if row is None:
        raise RuntimeError("no plan")
    (found,) = row[0]
    return Plan(text, found["Plan"], found["Planning Time"], found["Execution Time"])


def followed(client: Client, read: Read, explain: Callable[[str, Any], Plan]) -> list[tuple[str, Plan]]:
    """Ask a read, and its second page where it has one; return the plans of the statements of each."""
    found = []
    address: str | None = read.query
    for page in ("", " page 2"):
        if address is None:
            break
        with capturing(client.app) as caught:
            answer = client.get(address)
        assert answer.status in (200, 403, 404), (read, answer.response.get_data(as_text=True))
        found += [(f"{read.name}{page}", explain(text, given)) for text, given in caught]
        cursor = answer.json.get("next_cursor") if answer.status == 200 else None
        address = f"{read.query}&cursor={cursor}" if cursor else None
    return found


def people_of(place: Place, made: Made) -> dict[str, Client]:
    """Return a client for each kind of person whose reads differ."""
    ids = {"trainer": made.trainer_id, "head": made.head_trainer_id, "client": made.client_id}
    tokens = {name: {"Authorization": f"Bearer {place.token(user_id)}"} for name, user_id in ids.items()}
    return {
        "admin": place.someone(),
        **{name: Client(place.app, headers, ids[name]) for name, headers in tokens.items()},
    }
