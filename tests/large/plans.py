"""Every read of the API with each of its filters and orders, and PostgreSQL's plan for it.

The reads come from the application's own registry, and the plans from ``auto_explain``: PostgreSQL sends the plan that
it has really used with the result, whichever way the statement was sent. The checks count rows, never time.
"""

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any
from urllib.parse import urlencode

import psycopg
from flask import Flask
from marshmallow import validate
from sqlalchemy import event

from campshub.config import Settings
from campshub.core.dates import month_start
from campshub.core.db.session import db
from tests.conftest import Client, Tenant
from tests.declared import Undeclared, each, file_of, merged
from tests.large.data import Made
from tests.surface import Operation, operations

MONTH = re.compile(r"_p(\d{4}_\d{2})$")
# The statements are checked, not cached responses.
UNCACHED: dict[str, Any] = {"cache_ttl_data": 0} if "cache_ttl_data" in Settings.model_fields else {}
SMALL_SCAN = 20_000  # rows; a sequential scan of so few may be the faster plan. The limits of rows count them, too.
MOST_DAYS = 402  # a read without dates covers these, and two days ahead
MOST_OF_A_RANGE = merged("large.most_days")
OF_THE_EDGE = {"enter"}
EXPLAINED = (
    "session_preload_libraries = 'auto_explain'",
    "auto_explain.log_min_duration = 0",
    "auto_explain.log_analyze = on",
    "auto_explain.log_timing = off",
    "auto_explain.log_format = json",
    "auto_explain.log_level = notice",
)


@dataclass(frozen=True)
class Read:
    """One URL with its parameters, requested by one user."""

    rule: str
    about: str  # the filter, the order, or another variation
    who: str
    query: str
    dates: tuple[date, date] | None = None  # it may read only the partitions of these

    @property
    def name(self) -> str:
        return f"{self.rule} {self.about} as {self.who}"


@dataclass
class Plan:
    """What a statement's plan did."""

    explained: dict[str, Any]
    milliseconds: float = 0.0  # of its execution
    nodes: list[dict[str, Any]] = field(init=False)

    def __post_init__(self) -> None:
        self.nodes = [node for node in _nodes(self.explained["Plan"]) if node.get("Actual Loops", 0) > 0]

    @property
    def is_reading(self) -> bool:
        """Return whether it reads rows for a response; the edge's own statements do not."""
        functions = {node["Function Name"] for node in self.nodes if "Function Name" in node}
        writes = any(node["Node Type"] == "ModifyTable" for node in self.nodes)
        return not writes and bool(self.relations or functions - OF_THE_EDGE)

    @property
    def relations(self) -> set[str]:
        """Return the tables and partitions that were read."""
        return {node["Relation Name"] for node in self.nodes if "Relation Name" in node}

    @property
    def months(self) -> set[str]:
        """Return the months of the partitions that were read, as YYYY_MM."""
        return {found[1] for relation in self.relations if (found := MONTH.search(relation))}

    @property
    def scanned(self) -> set[str]:
        """Return the tables with a sequential scan, except scans of a small partition: a month that has just begun."""
        scans = [n for n in self.nodes if n["Node Type"] == "Seq Scan" and _touched(n) > SMALL_SCAN]
        return {MONTH.sub("", n["Relation Name"]) for n in scans}

    @property
    def rows(self) -> int:
        """Return how many rows and index entries were read, including discarded ones."""
        return round(sum(_touched(node) for node in self.nodes if "Scan" in node["Node Type"] and _is_leaf(node)))

    @property
    def sorted(self) -> int:
        """Return how many rows went into sorts."""
        sorts = [node for node in self.nodes if node["Node Type"] in ("Sort", "Incremental Sort")]
        return round(max((_returned(node["Plans"][0]) for node in sorts), default=0))

    @property
    def disabled(self) -> list[str]:
        """Return the disabled nodes that the planner used for lack of an alternative."""
        return [f"{node['Node Type']} {node.get('Relation Name', '')}" for node in self.nodes if node.get("Disabled")]


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from _nodes(child)


def _is_leaf(node: dict[str, Any]) -> bool:
    return "Relation Name" in node or "Index Name" in node or node["Node Type"] == "Function Scan"


def _touched(node: dict[str, Any]) -> float:
    discarded = sum(node.get(f"Rows Removed by {what}", 0) for what in ("Filter", "Index Recheck"))
    return (node["Actual Rows"] + discarded) * node["Actual Loops"]


def _returned(node: dict[str, Any]) -> float:
    return node["Actual Rows"] * node["Actual Loops"]


def _ids(connection: psycopg.Connection[Any], made: Made) -> dict[str, str]:
    """Return the values of the path parameters, and of required parameters, from the rows of all modules."""
    return {name: value for rows in each("large.rows") for name, value in rows(connection, made).items()}


def _values(made: Made, ids: dict[str, str]) -> dict[str, list[str]]:
    """Return the values of each filter: one that many rows have, and one that few or none have."""
    found: dict[str, list[str]] = {}
    for values in each("large.values"):
        for name, some in values(made, ids).items():
            found[name] = list(dict.fromkeys([*found.get(name, ()), *some]))
    return found


def reads(app: Flask, connection: psycopg.Connection[Any], made: Made, people: list[str]) -> list[Read]:
    """Return every read: each operation without parameters, with each value of each filter, and in each order."""
    found = []
    ids = _ids(connection, made)
    values = _values(made, ids)
    for operation in operations(app):
        if operation.method != "GET" or operation.endpoint.options.is_public:
            continue
        url, _, needed = operation.address(ids, ids).partition("?")
        found += [
            Read(operation.rule, about, who, f"{url}?{'&'.join(filter(None, (needed, urlencode(query))))}", dates)
            for about, query, dates in _variants(operation, values, made)
            for who in people
        ]
    return found


def _variants(
    operation: Operation, values: dict[str, list[str]], made: Made
) -> Iterator[tuple[str, dict[str, str], tuple[date, date] | None]]:
    """Yield the variants of an operation: a name, its query, and the dates that it covers."""
    mark, schema = operation.endpoint.options, operation.endpoint.query_schema
    filters = {field.data_key or name: field for name, field in schema.load_fields.items()} if schema else {}
    yield "bare", {}, None
    bounded = {}
    if {"from", "to"} <= filters.keys():
        month = (made.last - timedelta(days=45), made.last - timedelta(days=20))
        bounded = {"from": str(month[0]), "to": str(month[1])}
        yield "a month", bounded, month
        most = MOST_OF_A_RANGE.get(operation.name)
        longest = (made.last - timedelta(days=(most or 400) - 1), made.last)
        yield f"{most} days" if most else "a year", {"from": str(longest[0]), "to": str(longest[1])}, longest
    for name, fields in filters.items():
        if fields.required or name in ("from", "to"):
            continue
        choice = next((v.choices for v in fields.validators if isinstance(v, validate.OneOf)), None)
        if name not in values:
            raise Undeclared(f"{operation.name} has no value of {name}: see large.values in {file_of(operation)}")
        for number, value in enumerate(v for v in values[name] if choice is None or v in choice):
            yield f"{name} {number}", {name: value}, None
            if bounded:
                yield f"{name} {number} in a month", {**bounded, name: value}, month
    for sort in (name.removeprefix("-") for name in mark.sorts) if mark.is_page else ():
        for way in ("", "-"):
            yield f"sort {way}{sort}", {"sort": f"{way}{sort}"} | ({"q": "aba"} if sort == "relevance" else {}), None


def months_of(read: Read) -> set[str]:
    """Return the months that a read may access, as YYYY_MM."""
    first, last = read.dates or (date.today() - timedelta(days=MOST_DAYS), date.today() + timedelta(days=2))  # noqa: DTZ011 - one more day is harmless
    if "/weeks/" in read.rule:  # whole weeks
        first, last = first - timedelta(days=6), last + timedelta(days=6)
    if "/rates/" in read.rule:  # whole periods, and the one before, such as a month
        first, last = month_start(month_start(first) - timedelta(days=1)), last + timedelta(days=31)
    if read.rule.endswith(("/changes/", "/sync/")):  # a copy has all months
        first, last = first - timedelta(days=366), last + timedelta(days=366)
    return {f"{first + timedelta(days=day):%Y_%m}" for day in range((last - first).days + 1)}


def explain_everything(connection: psycopg.Connection[Any], database: str, *settings: str) -> None:
    """Let PostgreSQL send the plan of each statement to its client; call it before the application connects."""
    for setting in (*EXPLAINED, *settings):
        connection.execute(f"ALTER DATABASE {database} SET {setting}")


@contextmanager
def planning(app: Flask) -> Iterator[list[Plan]]:
    """Collect the plans of the reading statements that an application sends."""
    caught: list[Plan] = []

    def on_notice(notice: Any) -> None:
        duration, _, explained = (notice.message_primary or "").partition("plan:\n")
        plan = Plan(json.loads(explained), float(duration.split()[1])) if explained else None
        if plan and plan.is_reading:
            caught.append(plan)

    def connected(connection: Any, _record: Any) -> None:
        connection.add_notice_handler(on_notice)

    with app.app_context():
        engines = list(db.engines.values())
        for engine in engines:
            event.listen(engine, "connect", connected)
            engine.dispose()  # open connections have no such handler
    try:
        yield caught
    finally:
        for engine in engines:
            event.remove(engine, "connect", connected)
            engine.dispose()


# The parameter of the next page, and where the response has its value.
FOLLOWING = (("cursor", "next_cursor"), ("since", "next"))


def followed(client: Client, read: Read, caught: list[Plan]) -> Iterator[tuple[str, Plan, float]]:
    """Send a read, and its second page where it has one; yield each statement's plan and the response time.

    The second page of a change feed is the next call.
    """
    url: str | None = read.query
    for page in ("", ", page 2"):
        if url is None:
            return
        caught.clear()
        begun = time.perf_counter()
        response = client.get(url)
        milliseconds = (time.perf_counter() - begun) * 1000
        assert response.status in (200, 403, 404), (read, response.raw.get_data(as_text=True))
        yield from ((f"{read.name}{page}", plan, milliseconds) for plan in tuple(caught))
        body = (response.json if response.status == 200 else None) or {}  # a file has no second page
        after = next((f"{name}={body[key]}" for name, key in FOLLOWING if body.get(key)), None)
        url = f"{read.query}&{after}" if after else None


def people_of(tenant: Tenant, made: Made) -> dict[str, Client]:
    """Return a client for each kind of user whose reads differ."""
    ids = {"trainer": made.trainer_id, "head": made.head_trainer_id, "client": made.client_id}
    tokens = {name: {"Authorization": f"Bearer {tenant.token(user_id)}"} for name, user_id in ids.items()}
    return {
        "admin": tenant.someone(),
        **{name: Client(tenant.app, headers, ids[name]) for name, headers in tokens.items()},
    }
