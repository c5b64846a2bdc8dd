"""The OpenAPI 3.1 document, made from the handlers' marks."""

from typing import Any

import flask_smorest
from apispec import APISpec
from marshmallow import Schema
from marshmallow import fields as ma

from campshub.core.http import fields
from campshub.core.http.handler import Handler
from campshub.core.http.pagination import LONGEST_CURSOR
from campshub.core.http.problems import (
    BadCursor,
    BodyTooLarge,
    Forbidden,
    Invalid,
    MalformedBody,
    NotFound,
    PreconditionFailed,
    Problem,
    RateLimited,
    Unauthenticated,
    UnsupportedMediaType,
)
from campshub.core.http.rows import FieldErrorOut

PROBLEM_JSON = "application/problem+json"
_SECURITY = "accessToken"


class ProblemOut(fields.Out):
    """A problem document (RFC 9457)."""

    type = fields.Text(required=True)
    title = fields.Text(required=True)
    status = ma.Integer(required=True)
    code = fields.Text(required=True, metadata={"description": "Stable; made for programs."})
    detail = fields.Text(required=True, metadata={"description": "Made for people."})
    instance = fields.Text(required=True)
    trace_id = fields.Text(required=True)
    errors = ma.List(ma.Nested(FieldErrorOut))


class Api(flask_smorest.Api):  # type: ignore[misc] # the library ships no types
    """The API and its document; errors are the house's own."""

    ERROR_SCHEMA = ProblemOut

    def _register_error_handlers(self) -> None:
        """Leave errors to ``core.http.errors``."""

    def describe(self) -> None:
        """Say what all operations share: how to sign in."""
        self.spec.components.security_scheme(
            _SECURITY,
            {
                "type": "http",
                "scheme": "bearer",
                "bearerFormat": "JWT",
                "description": "From `POST /api/auth/token/`; or a key (`chk_...`), which `POST /api/api-keys/` makes.",
            },
        )


def schema_name(schema: Any) -> str:
    """Name a schema in the document; where sparse fields may leave some out, it is another one."""
    name: str = (schema if isinstance(schema, type) else type(schema)).__name__.removesuffix("Out")
    return f"Listed{name}" if getattr(schema, "partial", False) else name


def document(
    operation: dict[str, Any], info: dict[str, Any], *, spec: APISpec, method: str, **_unused: Any
) -> dict[str, Any]:
    """Describe one operation; called by flask-smorest for each."""
    handler: Handler = info["handler"]
    mark = handler.mark
    operation["operationId"] = f"{method}{handler.name}"
    operation["security"] = [] if mark.is_public else [{_SECURITY: []}]
    operation["parameters"] = _parameters(handler)
    if mark.permission is not None:
        operation["x-permission"] = str(mark.permission)
    if mark.body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": mark.body}}}
    operation["responses"] = _responses(handler, spec)
    return operation


def _parameters(handler: Handler) -> list[Any]:
    schemas = (handler.query_schema, handler.page_schema)
    found: list[Any] = [{"in": "query", "schema": schema} for schema in schemas if schema is not None]
    headers = []
    if handler.method == "POST" and not handler.mark.is_secret and not handler.mark.is_public:
        headers.append(("Idempotency-Key", "Sent twice with the same key, a request has one effect and one answer."))
    if handler.method in ("PATCH", "PUT", "DELETE"):
        headers.append(("If-Match", "The ETag of what the change is meant for; 412 where it has changed since."))
    found += [
        {"in": "header", "name": name, "required": False, "description": text, "schema": _header_schema(name)}
        for name, text in headers
    ]
    return found


def _header_schema(name: str) -> dict[str, Any]:
    if name == "If-Match":
        return {"type": "string", "pattern": r'^(W/)?"[0-9]{1,9}(-[0-9a-f]{12})?"$'}
    return {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^[\x21-\x7e]+$"}


def _responses(handler: Handler, spec: APISpec) -> dict[str, Any]:
    mark = handler.mark
    responses: dict[str, Any] = {}
    shows = mark.answer is not None or bool(mark.media_types)
    status = mark.status if shows or mark.status != 200 else 204  # noqa: PLR2004 - nothing to show
    good: dict[str, Any] = {"description": (handler.function.__doc__ or "").strip().partition("\n")[0]}
    if mark.answer is not None:
        good["content"] = {"application/json": {"schema": _answer_schema(handler, spec)}}
    if mark.media_types:
        good["content"] = {name: {"schema": {"type": "string", "format": "binary"}} for name in mark.media_types}
    responses[str(status)] = good
    if status == 201:  # noqa: PLR2004 - Created
        responses["200"] = {**good, "description": "It was there already: the same request came before."}
    if mark.answer is not None and handler.reads and not mark.is_page:
        responses["304"] = {"description": "Unchanged since the ETag in If-None-Match."}
    by_status: dict[int, list[type[Problem]]] = {}
    for problem in _refusals(handler):
        by_status.setdefault(int(problem.status), []).append(problem)
    for code, kinds in sorted(by_status.items()):
        told = "; ".join(dict.fromkeys(f"`{k.code}`: {_sentence(k)}" for k in kinds))
        responses[str(code)] = {"description": told, "content": {PROBLEM_JSON: {"schema": ProblemOut}}}
    responses["default"] = {"description": "Any other problem.", "content": {PROBLEM_JSON: {"schema": ProblemOut}}}
    return responses


def _refusals(handler: Handler) -> list[type[Problem]]:
    mark = handler.mark
    found: list[type[Problem]] = [*mark.raises, Problem, Invalid, NotFound, RateLimited]
    if not mark.is_public:
        found += [Unauthenticated, Forbidden]
    if mark.body is not None:
        found += [MalformedBody, BodyTooLarge, UnsupportedMediaType]
    if mark.is_page:
        found.append(BadCursor)
    if handler.method in ("PATCH", "PUT", "DELETE"):
        found.append(PreconditionFailed)
    return found


def _sentence(problem: type[Problem]) -> str:
    return (problem.__doc__ or "").strip().partition("\n")[0]


def _answer_schema(handler: Handler, spec: APISpec) -> Any:
    answer = handler.mark.answer
    if answer is None or not handler.mark.is_page:
        return answer
    name = f"{answer.__name__.removesuffix('Out')}Page"
    if name not in spec.components.schemas:
        # Sparse fields leave some out, so a page's items require none.
        shape = Schema.from_dict(
            {
                "items": ma.List(ma.Nested(answer(partial=True)), required=True),
                "next_cursor": fields.Text(required=True, allow_none=True, most=LONGEST_CURSOR),
                "has_more": fields.Flag(required=True),
            },
            name=name,
        )
        spec.components.schema(name, schema=shape)
    return {"$ref": f"#/components/schemas/{name}"}
