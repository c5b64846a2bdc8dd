"""The responses of an operation: their schemas, their headers and all problem codes."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from apispec import APISpec
from marshmallow import fields as ma

from campshub.core.errors import (
    BadCursor,
    BodyTooLarge,
    Conflict,
    Forbidden,
    IdTaken,
    Invalid,
    KeyInFlight,
    KeyReused,
    MalformedBody,
    NotFound,
    PreconditionFailed,
    Problem,
    RateLimited,
    TlsRequired,
    Unauthenticated,
    Unavailable,
    Unexpected,
    UnknownReference,
    UnlistedHost,
    UnsupportedMediaType,
)
from campshub.core.http.endpoint import Endpoint
from campshub.core.http.error_handlers import ChangedMeanwhile, InUse, MonthMissing
from campshub.core.http.openapi import schemas
from campshub.core.http.responses import OCTETS
from campshub.core.http.schemas import fields
from campshub.core.http.schemas.pages import LONGEST_CURSOR
from campshub.core.http.schemas.rows import FieldErrorOut
from campshub.core.security.authorization import MfaRequired, NotForKeys, OrganizationSuspended, SessionEnded
from campshub.core.security.permissions import OF_KEYS, PERSONAL
from campshub.core.security.tokens import BadToken

PROBLEM_JSON = "application/problem+json"
OK, CREATED, ACCEPTED, NO_CONTENT, NOT_MODIFIED = 200, 201, 202, 204, 304
_EXISTED = {"POST": "It exists already: the request was sent before.", "PUT": "It existed, and is changed."}
_HEADERS = {
    "ETag": 'The version that is shown: `"<version>-<variant>"` of one row, an opaque tag of a list.',
    "Location": "Where the created row is; of a 202, the job that says how far the work is.",
    "Link": 'The next page, `<...>; rel="next"`; absent on the last one.',
    "Retry-After": "In how many seconds to send the request again.",
    "Idempotent-Replayed": "`true` where the response is the one that an earlier request with this key received.",
    "RateLimit": "What is left of each limit: `r` requests within `t` seconds (draft-ietf-httpapi-ratelimit-headers).",
    "RateLimit-Policy": "The limits: `q` requests in `w` seconds.",
    "Content-Disposition": "The name under which to save the file (RFC 6266).",
    "WWW-Authenticate": "How to sign in (RFC 6750).",
    "Deprecation": "Since when the operation is deprecated (RFC 9745).",
    "Sunset": "When the operation ends (RFC 8594).",
    "X-Request-ID": "The request's id, as sent or as made here; logs have it too.",
    "Campshub-Freshness": "`unverified` where the response could not be compared with the latest writes.",
}
_INTEGERS = frozenset({"Retry-After"})
_OF_DEPRECATED = frozenset({"Deprecation", "Sunset"})
_PHRASES = {
    400: "BadRequest",
    401: "Unauthenticated",
    413: "ContentTooLarge",
    422: "Invalid",
    429: "RateLimited",
    500: "Unexpected",
    503: "Unavailable",
}
# Codes that follow from the options of an operation, and the part of the name of a shared response with them.
_TRAITS = {
    "malformed_body": "Body",
    "bad_cursor": "Page",
    "not_for_keys": "ToKeys",
    "mfa_required": "WithoutMfa",
    "idempotency_key_in_flight": "Key",
    "idempotency_key_reused": "Key",
    "unknown_reference": "Reference",
    "id_taken": "Id",
    "in_use": "Use",
    "month_missing": "Month",
}


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
    present = ma.Dict(metadata={"description": "Of a conflict: what is there now, such as its `id` and `version`."})


def register(spec: APISpec) -> None:
    """Describe the problem document and the shared headers."""
    if "Problem" not in spec.components.schemas:
        spec.components.schema("Problem", schema=ProblemOut)
    for name in _HEADERS:
        if name not in _OF_DEPRECATED:
            _describe_header(name, spec)


def _describe_header(name: str, spec: APISpec) -> None:
    schema = {"type": "integer", "minimum": 0} if name in _INTEGERS else {"type": "string"}
    if name not in spec.components.headers:
        spec.components.header(name, {"description": _HEADERS[name], "schema": schema})


def may_be_unchanged(endpoint: Endpoint) -> bool:
    """Return whether a response can be 304: a read with an ETag."""
    return endpoint.reads and _has_etag(endpoint)


def responses(endpoint: Endpoint, operation: str, spec: APISpec) -> dict[str, Any]:
    """Return the responses of an operation by their status."""
    options = endpoint.options
    if options.deprecation is not None:
        for name in sorted(_OF_DEPRECATED):
            _describe_header(name, spec)
    has_body = options.answer is not None or bool(options.media_types)
    status = options.status if has_body or options.status != OK else NO_CONTENT
    success: dict[str, Any] = {
        "description": _first_line(endpoint.function),
        "headers": _success_headers(endpoint, status),
    }
    if options.answer is not None:
        success["content"] = {"application/json": {"schema": _answer_schema(endpoint, spec)}}
    if options.media_types:
        # Generators read the body by the first media type that they know, and would decode a text type.
        names = [OCTETS, *sorted(options.media_types, key=lambda name: name.startswith("text/"))]
        success["content"] = {name: {"schema": {"type": "string", "format": "binary"}} for name in names}
        success["description"] += f" Its media type is its own, or `{OCTETS}` where `Accept` names only that."
    found: dict[str, Any] = {str(status): success}
    if status == CREATED:
        found["200"] = {**success, "description": _EXISTED[endpoint.method]}
    if may_be_unchanged(endpoint):
        headers = _headers("ETag", *_common_headers(endpoint))
        found["304"] = {"description": "Unchanged since the ETag in If-None-Match.", "headers": headers}
    by_status: dict[int, list[type[Problem]]] = {}
    for problem in problems_of(endpoint):
        by_status.setdefault(int(problem.status), []).append(problem)
    for code, kinds in sorted(by_status.items()):
        found[str(code)] = _problem_response(endpoint, operation, code, kinds, spec)
    content = {PROBLEM_JSON: {"schema": ProblemOut}}
    found["default"] = {
        "description": "Any other problem.",
        "headers": _headers(*_common_headers(endpoint)),
        "content": content,
    }
    return found


def problems_of(endpoint: Endpoint) -> Sequence[type[Problem]]:
    """Return all problems of an operation: the declared ones, and those that follow from its options."""
    found = [*endpoint.options.raises, *_implied(endpoint)]
    return list({kind.code: kind for kind in reversed(found)}.values())[::-1]


def _implied(endpoint: Endpoint) -> Sequence[type[Problem]]:
    """Return the problems that follow from the options of an operation."""
    options = endpoint.options
    found: list[type[Problem]] = [Problem, UnlistedHost, TlsRequired, Invalid, NotFound, RateLimited]
    found += [Unexpected, Unavailable]
    if options.permission is not None:
        found += [Unauthenticated, BadToken, SessionEnded, Forbidden, OrganizationSuspended]
        found += [MfaRequired] if options.permission not in PERSONAL else []
        found += [NotForKeys] if options.permission not in OF_KEYS else []
    if options.body is not None:
        found += [MalformedBody, BodyTooLarge, UnsupportedMediaType]
        found += [IdTaken] if "id" in options.body().fields else []
    if options.is_page:
        found.append(BadCursor)
    if endpoint.compares_version:
        found.append(PreconditionFailed)
    if not endpoint.reads:
        found += [Conflict, ChangedMeanwhile, UnknownReference, MonthMissing]
        found += [InUse] if endpoint.method in ("DELETE", "PATCH") else []
    if endpoint.takes_key:
        found += [KeyInFlight, KeyReused]
        found += [BodyTooLarge] if options.body is None else []  # the fingerprint of a key includes the body
    return found


def _problem_response(
    endpoint: Endpoint, operation: str, status: int, kinds: Sequence[type[Problem]], spec: APISpec
) -> dict[str, Any]:
    headers = list(_common_headers(endpoint))
    if status == HTTPStatus.UNAUTHORIZED:
        headers.append("WWW-Authenticate")
    if status in (HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        headers.append("Retry-After")
    if status == HTTPStatus.CONFLICT:
        headers += ["ETag", "Location"]
    if status == HTTPStatus.PRECONDITION_FAILED:
        headers.append("ETag")
    codes = sorted(kind.code for kind in kinds)
    general = _general_name(status, codes, {k.code for k in _implied(endpoint) if int(k.status) == status})
    name = general or f"{operation[0].upper()}{operation[1:]}{_phrase(status)}"
    content = {PROBLEM_JSON: {"schema": _problem_schema(f"{name}Problem", status, codes, spec)}}
    text = "\n".join(f"- `{kind.code}`: {kind.default_detail}" for kind in kinds)
    response = {"description": text, "headers": _headers(*headers), "content": content}
    # Operations with the same response share one description.
    if general is None or not set(kinds) <= set(_implied(endpoint)) or endpoint.options.deprecation is not None:
        return response
    name = f"{general}{'ToRead' if endpoint.reads else ''}"
    if name not in spec.components.responses:
        spec.components.response(name, component=response)
    return {"$ref": f"#/components/responses/{name}"}


def _phrase(status: int) -> str:
    return _PHRASES.get(status) or HTTPStatus(status).phrase.title().replace(" ", "")


def _general_name(status: int, codes: Sequence[str], implied: set[str]) -> str | None:
    """Return the name of a response with only implied codes; None if the operation declares a code itself."""
    if set(codes) != implied:
        return None
    labels = dict.fromkeys(_TRAITS[code] for code in codes if code in _TRAITS)
    public = "Public" if status == HTTPStatus.FORBIDDEN and Forbidden.code not in codes else ""
    return f"{_phrase(status)}{public}{''.join(labels)}"


def _problem_schema(name: str, status: int, codes: Sequence[str], spec: APISpec) -> dict[str, Any]:
    """Return the schema of a problem with these codes; operations with the same implied codes share it.

    :raises ValueError: a schema with this name has other codes.
    """
    code = {"type": "object", "properties": {"code": {"type": "string", "enum": list(codes)}}, "required": ["code"]}
    description = f"A problem with status {status}; `code` is one of those listed."
    schema = {"description": description, "allOf": [{"$ref": "#/components/schemas/Problem"}, code]}
    if spec.components.schemas.setdefault(name, schema) != schema:
        raise ValueError(f"{name} has other codes than {', '.join(codes)}: give them other names in _TRAITS")
    return {"$ref": f"#/components/schemas/{name}"}


def _has_etag(endpoint: Endpoint) -> bool:
    options = endpoint.options
    if options.answer is None or options.is_page:
        return options.is_page
    return "version" in options.answer().fields or (endpoint.reads and not options.is_secret)


def _success_headers(endpoint: Endpoint, status: int) -> dict[str, Any]:
    names = list(_common_headers(endpoint))
    if _has_etag(endpoint):
        names.append("ETag")
    if endpoint.options.is_page:
        names.append("Link")
    if status in (CREATED, ACCEPTED) and endpoint.method == "POST":
        names.append("Location")
    if endpoint.takes_key:
        names.append("Idempotent-Replayed")
    if endpoint.options.media_types:
        names.append("Content-Disposition")
    return _headers(*names)


def _common_headers(endpoint: Endpoint) -> Sequence[str]:
    """Return the headers that every response of an operation may have."""
    names = ["RateLimit", "RateLimit-Policy", "X-Request-ID"]
    names += ["Campshub-Freshness"] if endpoint.reads else []
    return names + (["Deprecation", "Sunset"] if endpoint.options.deprecation is not None else [])


def _headers(*names: str) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _first_line(function: Any) -> str:
    return (function.__doc__ or "").strip().partition("\n")[0]


def _answer_schema(endpoint: Endpoint, spec: APISpec) -> Any:
    answer = endpoint.options.answer
    if answer is None or not endpoint.options.is_page:
        return answer
    name = f"{schemas.schema_name(answer)}Page"
    if name not in spec.components.schemas:
        shape = fields.Out.from_dict(
            {
                "items": ma.List(ma.Nested(answer), required=True),
                "next_cursor": ma.String(required=True, allow_none=True, metadata={"maxLength": LONGEST_CURSOR}),
                "has_more": fields.Boolean(required=True),
            },
            name=name,
        )
        spec.components.schema(name, schema=shape)
    return {"$ref": f"#/components/schemas/{name}"}
