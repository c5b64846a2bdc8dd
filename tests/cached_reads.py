"""Reads whose responses are cached, with the URLs of all their filters, orders and pages."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from marshmallow import fields as ma
from marshmallow import validate

from campshub.core.security.permissions import Role
from tests.dates import today
from tests.declared import merged
from tests.seeds import Seeds
from tests.surface import BY_NAME, Operation, operations

EMPTY, REFERENCES = merged("empty"), merged("references")


def ids_of_nothing(seeds: Seeds) -> dict[str, str]:
    """Create rows that nothing refers to; return their ids. A read of an empty list may check that its owner exists."""
    admin = seeds.tenant.the(Role.ADMIN)
    return {**seeds.ids, **{name: admin.made(*what)["id"] for name, what in EMPTY.items()}}


def cached(app: Any) -> list[Operation]:
    """Return the operations whose responses are cached."""
    return [one for one in operations(app) if one.endpoint.options.cache_policy is not None]


def urls_of(operation: Operation, ids: dict[str, str]) -> Iterator[str]:
    """Yield the URLs of an operation: bare, with each filter, in each order, and page by page."""
    url, _, needed = operation.address(ids).partition("?")
    options, schema = operation.endpoint.options, operation.endpoint.query_schema
    yield f"{url}?{needed}"
    optional = [(name, one) for name, one in schema.load_fields.items() if not one.required] if schema else []
    for name, field in optional:
        yield from (f"{url}?{needed}&{urlencode({field.data_key or name: v})}" for v in values(name, field, ids))
    for sort in options.sorts if options.is_page else ():
        search = "&q=quokka" if sort == "relevance" else ""
        yield from (f"{url}?{needed}&limit=1&sort={way}{sort.removeprefix('-')}{search}" for way in ("", "-"))


def values(name: str, field: Any, ids: dict[str, str]) -> list[str]:
    """Return values for a filter: each choice, or a value that exists and one that does not."""
    choice = next((one for one in field.validators if isinstance(one, validate.OneOf)), None)
    if choice is not None:
        return [str(one) for one in choice.choices]
    if isinstance(field, ma.Boolean):
        return ["true", "false"]
    if isinstance(field, ma.AwareDateTime):
        return [f"{today()}T00:00:00Z", "2199-12-31T00:00:00Z"]
    if isinstance(field, ma.Date):
        return [str(today())]
    if isinstance(field, ma.UUID):
        return [ids[REFERENCES.get(name, name)], ids["user_id"]]
    assert isinstance(field, ma.String), f"{name}: no example values for {type(field).__name__}"
    return [BY_NAME[name]] if name in BY_NAME else ["quokka", "qu", "trip"]
