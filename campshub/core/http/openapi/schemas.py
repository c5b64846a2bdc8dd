"""How marshmallow schemas and fields are described in the OpenAPI document: names, defaults, bounds, examples.

apispec calls each attribute function with a field and the description so far (``ret``), and merges what it returns.
"""

from typing import Any

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from marshmallow import Schema
from marshmallow import fields as ma

from campshub.core.http.schemas import fields

_DATES = "From 1900-01-01 to 2200-01-01."
_JSON_VALUE = {
    "description": "Any JSON value.",
    "anyOf": [
        {"type": "string"},
        {"type": "number"},
        {"type": "boolean"},
        {"type": "array", "items": {}},
        {"type": "object", "additionalProperties": True},
        {"type": "null"},
    ],
}


def register(spec: APISpec, plugin: MarshmallowPlugin) -> None:
    """Register the functions that describe this API's fields where apispec's own description does not suffice."""
    spec.components.schema("JsonValue", component=_JSON_VALUE)
    if plugin.converter is not None:
        for describe in (_describe_default, _describe_values, _describe_bounds, _describe_choice):
            plugin.converter.add_attribute_function(describe)  # type: ignore[no-untyped-call] # apispec's own


def schema_name(schema: Any) -> str:
    """Return the name of a schema in the document: ``documented_as``, or the class name without the suffix ``Out``."""
    kind = schema if isinstance(schema, type) else type(schema)
    name: str = getattr(kind, "documented_as", None) or kind.__name__.removesuffix("Out")
    return name


def _describe_default(_converter: Any, field: ma.Field[Any], ret: dict[str, Any]) -> dict[str, Any]:
    """Move the default of a body's field into its description.

    Client generators treat a property with a default as always present, so they would require it in requests.
    """
    if "default" not in ret or not _is_of_body(field):
        return {}
    default = ret.pop("default")
    if default is None:
        return {}
    text = {True: "true", False: "false"}.get(default, default) if isinstance(default, bool) else default
    return {"description": f"{ret.get('description', '')} Default: `{text}`.".strip()}


def _is_of_body(field: ma.Field[Any]) -> bool:
    return not isinstance(field.parent, fields.Filter) and isinstance(field.parent, Schema)


def _describe_values(_converter: Any, field: ma.Field[Any], ret: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG001 - apispec's signature
    """Say that an object without declared fields may contain any JSON value."""
    if isinstance(field, ma.Dict) and field.value_field is None:
        return {"additionalProperties": {"$ref": "#/components/schemas/JsonValue"}}
    return {}


def _describe_bounds(_converter: Any, field: ma.Field[Any], ret: dict[str, Any]) -> dict[str, Any]:
    """State the bounds of dates, for which JSON Schema has no keyword."""
    if isinstance(field, fields.LocalDate | fields.Instant) and isinstance(field.root, fields.In):
        return {"description": f"{ret.get('description', '')} {_DATES}".strip()}
    return {}


def _describe_choice(_converter: Any, _field: ma.Field[Any], ret: dict[str, Any]) -> dict[str, Any]:
    """Move null out of an enumeration: client generators then create one type instead of three."""
    if "enum" not in ret or None not in ret["enum"]:
        return {}
    choice = {"type": "string", "enum": [value for value in ret.pop("enum") if value is not None]}
    del ret["type"]
    return {"anyOf": [choice, {"type": "null"}]}


def example_of(schema: type[Schema]) -> Any:
    """Return the example that the schema of a body declares, or None."""
    example: fields.Example | None = getattr(schema, "example", None)
    return example.written() if example is not None else None
