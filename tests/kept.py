"""The reads whose answers are kept, as the application has them, and everything that each may be asked."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from marshmallow import fields as ma
from marshmallow import validate

from campshub.core.security.permissions import Role
from tests.seeds import TODAY, Seeds
from tests.surface import Operation, operations

EMPTY = {
    "student_id": ("/api/students/", {"code": "empty", "given_name": "Nobody", "family_name": "Yet"}),
    "group_id": ("/api/groups/", {"code": "empty", "name": "Nobody's"}),
    "session_id": ("/api/attendance/sessions/", {"local_date": str(TODAY), "slot": "23:00"}),
}


def ids_of_nothing(seeds: Seeds) -> dict[str, str]:
    """Make what nothing belongs to, and return its ids: an empty list may ask whether its owner is there."""
    admin = seeds.place.the(Role.ADMIN)
    return {**seeds.ids, **{name: admin.made(*what)["id"] for name, what in EMPTY.items()}}


def cached(app: Any) -> list[Operation]:
    """Return the operations whose answers are kept."""
    return [one for one in operations(app) if one.handler.options.cache_policy is not None]


def addresses_of(operation: Operation, ids: dict[str, str]) -> Iterator[str]:
    """Yield an operation's addresses: bare, with each filter, in each order, and page by page."""
    address, _, needed = operation.address(ids).partition("?")
    mark, schema = operation.handler.options, operation.handler.query_schema
    yield f"{address}?{needed}"
    optional = [(name, one) for name, one in schema.load_fields.items() if not one.required] if schema else []
    for name, given in optional:
        yield from (f"{address}?{needed}&{urlencode({given.data_key or name: v})}" for v in values(name, given, ids))
    for sort in mark.sorts if mark.is_page else ():
        found = "&q=quokka" if sort == "relevance" else ""
        yield from (f"{address}?{needed}&limit=1&sort={way}{sort.removeprefix('-')}{found}" for way in ("", "-"))


def values(name: str, given: Any, ids: dict[str, str]) -> list[str]:
    """Return what a filter may be given: each choice, or something that is there and something that is not."""
    choice = next((one for one in given.validators if isinstance(one, validate.OneOf)), None)
    if choice is not None:
        return [str(one) for one in choice.choices]
    if isinstance(given, ma.Boolean):
        return ["true", "false"]
    if isinstance(given, ma.Date):
        return [str(TODAY)]
    if isinstance(given, ma.UUID):
        return [ids[name], ids["user_id"]]
    assert isinstance(given, ma.String), f"{name}: say what {type(given).__name__} may be given"
    return ["quokka", "qu", "trip"]
