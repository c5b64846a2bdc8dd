"""The OpenAPI 3.1 document: one operation for each endpoint, from its options.

``schemas`` describes the schemas and ``responses`` the responses; ``Api.sorted_document`` sorts the document.

Operation ids come from the names of resources: ``Students`` is a list, ``OneStudent`` is one row, ``StudentUndelete``
and ``CloseOrganization`` are actions. Any other endpoint sets its operation id with ``decorators.named``.
"""

import inspect
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import flask_smorest
from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin

from campshub.core.http.endpoint import Endpoint
from campshub.core.http.openapi import responses, schemas
from campshub.core.http.openapi.responses import ProblemOut
from campshub.core.http.schemas import fields
from campshub.core.security.permissions import ROLES

_SECURITY = "accessToken"
_INTRODUCTION = Path(__file__).parent / "page" / "introduction.md"
_CONVENTIONS = Path(__file__).parents[4] / "docs" / "api.md"
# The tags in the order in which a client needs them: first these, then those of other modules in the order of the
# modules, then the last ones.
FIRST_TAGS = (
    "auth",
    "me",
    "organizations",
    "users",
    "invitations",
    "roles",
    "api_keys",
    "students",
    "groups",
    "attendance_sessions",
    "group_sessions",
    "attendance_records",
    "attendance_codes",
    "student_attendance",
    "attendance_analytics",
    "muscles",
    "exercises",
    "workout_logs",
    "student_workouts",
    "progress",
    "reports",
    "report_schedules",
)
LAST_TAGS = ("jobs", "audit", "security_events")
_KEY = "Two requests with the same key have one effect and one response. 1 to 255 visible ASCII characters."
_IF_MATCH = "ETags of the versions that the change applies to; 412 if none of them is the current one."
_IF_NONE_MATCH = "An ETag from an earlier response; 304 if it is still current."
_TAG = r'(W/)?"[0-9]{1,9}(-[0-9a-f]{12})?"'
_IF_MATCH_PATTERN = rf"^{_TAG}(, {_TAG})*$"
_KEY_SCHEMA = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^[\x21-\x7e]+$"}
# Examples of required query parameters, and of parameters of the path that are no ids.
_EXAMPLES: Mapping[str, Callable[[], str]] = {
    "entities": lambda: "groups,students",
    "external_id": lambda: "SIS-1042",
    "local_date": fields.today,
    "on": fields.today,
    "slot": lambda: "09:00",
    "token": lambda: "the-token-of-the-link",
}
_METHODS = ("get", "post", "put", "patch", "delete")


def information() -> dict[str, Any]:
    """Return the general part of the document: title, description, licence, servers."""
    return {
        "info": {
            "summary": "Students, groups, attendance and training of camps, schools and gyms.",
            "description": introduction(),
            "contact": {"name": "The operators of this installation"},
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "The installation that serves this document."}],
    }


def introduction() -> str:
    """Return the first calls, then the conventions of docs/api.md, as Markdown."""
    first = _INTRODUCTION.read_text("utf-8")
    conventions = _CONVENTIONS.read_text("utf-8").partition("\n")[2]
    # Remove links to other pages, which do not work in the document.
    conventions = re.sub(r"\[([^\]]+)\]\((?!https?:)[^)]*\)", r"\1", conventions)
    return f"{first.strip()}\n\n# Conventions\n{conventions.strip()}\n"


def plugin() -> MarshmallowPlugin:
    """Return the plugin that describes the schemas of this API."""
    return MarshmallowPlugin(schema_name_resolver=schemas.schema_name)


class Api(flask_smorest.Api):  # type: ignore[misc] # the library ships no types
    """The API and its document; the application handles the errors."""

    ERROR_SCHEMA = ProblemOut

    def _register_error_handlers(self) -> None:
        """Leave errors to ``core.http.error_handlers``."""

    def describe(self) -> None:
        """Describe the shared parts: authentication, headers, and the mapping of fields to schemas."""
        schemas.register(self.spec, self.ma_plugin)
        responses.register(self.spec)
        self.spec.components.schemas.pop("PaginationMetadataSchema", None)
        self.spec.components.security_scheme(
            _SECURITY,
            {
                "type": "http",
                "scheme": "bearer",
                "bearerFormat": "JWT",
                "description": "From `POST /api/auth/token/`; or a key (`chk_...`) from `POST /api/api-keys/`.",
            },
        )

    def sorted_document(self) -> dict[str, Any]:
        """Return the document, sorted by tag and with examples of its parameters."""
        document: dict[str, Any] = self.spec.to_dict()
        others = [tag["name"] for tag in document.get("tags", ()) if tag["name"] not in (*FIRST_TAGS, *LAST_TAGS)]
        rank = {name: index for index, name in enumerate((*FIRST_TAGS, *others, *LAST_TAGS))}

        def rank_of(item: Mapping[str, Any]) -> int:
            return min(rank[tag] for m in _METHODS if m in item for tag in item[m]["tags"])

        document["tags"] = sorted(document.get("tags", ()), key=lambda tag: rank[tag["name"]])
        document["paths"] = dict(sorted(document["paths"].items(), key=lambda path: rank_of(path[1])))
        for item in document["paths"].values():
            own = [parameter for method in _METHODS for parameter in item.get(method, {}).get("parameters", ())]
            for parameter in (*item.get("parameters", ()), *own):
                if parameter["in"] == "path" and parameter["schema"].get("format") == "uuid":
                    parameter["example"] = fields.example_id(parameter["name"])
                elif parameter["in"] == "path" or (parameter["name"] in _EXAMPLES and parameter["required"]):
                    parameter["example"] = _EXAMPLES[parameter["name"]]()
        return document


def document(
    operation: dict[str, Any], info: dict[str, Any], *, spec: APISpec, method: str, **_unused: Any
) -> dict[str, Any]:
    """Describe one operation; flask-smorest calls this function."""
    endpoint: Endpoint = info["handler"]
    options = endpoint.options
    operation["operationId"] = operation_id(endpoint, method)
    operation["description"] = _description(endpoint)
    info["docstring"].pop("description", None)  # flask-smorest would replace our description with it
    operation["security"] = [] if options.is_public else [{_SECURITY: []}]
    operation["parameters"] = _parameters(endpoint)
    if options.permission is not None:
        operation["x-permission"] = str(options.permission)
    if options.deprecation is not None:
        operation["deprecated"] = True
    if options.body is not None:
        content: dict[str, Any] = {"schema": options.body}
        if (example := schemas.example_of(options.body)) is not None:
            content["example"] = example
        operation["requestBody"] = {"required": True, "content": {"application/json": content}}
    operation["responses"] = responses.responses(endpoint, operation["operationId"], spec)
    return operation


def _description(endpoint: Endpoint) -> str:
    """Return the endpoint's docstring after its first line, then the permission."""
    options = endpoint.options
    paragraphs = [(inspect.getdoc(endpoint.function) or "").partition("\n")[2].strip()]
    if options.deprecation is not None:
        paragraphs.append(options.deprecation.sentence)
    if options.permission is None:
        paragraphs.append("**Permission:** none; no sign-in is needed.")
    else:
        roles = [f"`{role}`" for role, permissions in ROLES.items() if options.permission in permissions]
        paragraphs.append(f"**Permission:** `{options.permission}` (built-in roles: {', '.join(roles)}).")
    return "\n\n".join(part for part in paragraphs if part)


def _parameters(endpoint: Endpoint) -> list[Any]:
    schemas = (endpoint.query_schema, endpoint.page_schema)
    found: list[Any] = [{"in": "query", "schema": schema} for schema in schemas if schema is not None]
    if endpoint.takes_key:
        found.append(_header("Idempotency-Key", _KEY, _KEY_SCHEMA))
    if endpoint.compares_version:
        found.append(_header("If-Match", _IF_MATCH, {"type": "string", "pattern": _IF_MATCH_PATTERN}))
    if responses.may_be_unchanged(endpoint):
        found.append(_header("If-None-Match", _IF_NONE_MATCH, {"type": "string"}))
    return found


def _header(name: str, text: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"in": "header", "name": name, "required": False, "description": text, "schema": schema}


_ACTIONS = ("Accept", "Close", "Confirm", "Lock", "Reopen", "Resend", "Reset", "Submit", "Undelete")

_OF_LISTS = {"items", "next_cursor", "has_more"}


class Unnamed(Exception):
    """No operation id follows from the name of the resource."""


def operation_id(endpoint: Endpoint, method: str) -> str:
    """Return the id of an operation.

    :raises Unnamed: no rule applies to the name of the resource.
    """
    if endpoint.options.operation is not None:
        return endpoint.options.operation
    method, name = method.lower(), endpoint.name
    one = name.removeprefix("One")
    if method == "get":
        return f"list{name}" if _is_list(endpoint) else f"get{one}"
    if method in ("patch", "delete"):
        return f"{'update' if method == 'patch' else 'delete'}{one}"
    if method == "post":
        for action in _ACTIONS:
            if name.startswith(action):
                return f"{action.lower()}{name.removeprefix(action)}"
            if name.endswith(action):
                return f"{action.lower()}{name.removesuffix(action)}"
        if name.endswith("s"):
            return f"create{_singular(name)}"
    raise Unnamed(f"{name} {method} needs @named(...): no operation id follows from its name")


def _is_list(endpoint: Endpoint) -> bool:
    answer = endpoint.options.answer
    return endpoint.options.is_page or (answer is not None and {"items"} <= set(answer().fields) <= _OF_LISTS)


def _singular(plural: str) -> str:
    return f"{plural.removesuffix('ies')}y" if plural.endswith("ies") else plural.removesuffix("s")
