"""Errors for clients: a class for each, with a status, a stable code and a text (RFC 9457).

This module does not import Flask, so services can raise these errors. ``core/http/error_handlers.py`` renders them.
A module defines its own errors beside the code that raises them.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from http import HTTPStatus
from typing import Any, ClassVar

# RFC 9110 renamed these after Python 3.11.
_TITLES = {413: "Content Too Large", 414: "URI Too Long", 422: "Unprocessable Content"}


def title(status: int) -> str:
    """Return the reason phrase of a status, as RFC 9110 has it."""
    return _TITLES.get(int(status)) or HTTPStatus(status).phrase


@dataclass(frozen=True)
class FieldError:
    """One error in the request; ``pointer`` is the JSON pointer to its location."""

    pointer: str
    code: str
    detail: str


@dataclass(eq=False)
class Problem(Exception):
    """An error that is returned to the client as a problem document.

    A subclass with ``constraint`` is also raised for a violation of that database constraint. Each subclass sets its
    own ``default_detail``: an attribute, so that the API does not depend on docstrings, which ``python -OO`` removes.
    """

    detail: str = ""
    errors: list[FieldError] = field(default_factory=list)
    present: Any = None
    headers: dict[str, str] = field(default_factory=dict)

    status: ClassVar[int] = HTTPStatus.BAD_REQUEST
    code: ClassVar[str] = "bad_request"
    default_detail: ClassVar[str] = "The request is malformed."
    constraint: ClassVar[str | None] = None
    pointer: ClassVar[str | None] = None
    by_constraint: ClassVar[dict[str, type["Problem"]]] = {}

    def __init_subclass__(cls) -> None:
        """Register the problem for its database constraint."""
        if "constraint" in cls.__dict__ and cls.constraint:
            Problem.by_constraint[cls.constraint] = cls

    def __post_init__(self) -> None:
        """Fill in the default text, and the error at the pointer of the class."""
        self.detail = self.detail or self.default_detail
        if self.pointer is not None and not self.errors:
            self.errors = [FieldError(self.pointer, self.code, self.detail)]

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"

    def document(self, *, instance: str, trace_id: str) -> dict[str, Any]:
        """Return the problem document, without empty members."""
        document: dict[str, Any] = {
            "type": "about:blank",
            "title": title(self.status),
            "status": int(self.status),
            "code": self.code,
            "detail": self.detail,
            "instance": instance,
            "trace_id": trace_id,
        }
        if self.errors:
            document["errors"] = [{"pointer": e.pointer, "code": e.code, "detail": e.detail} for e in self.errors]
        if self.present is not None:
            document["present"] = self.present
        return document


def problem_of_constraint(cause: Any) -> Problem | None:
    """Return the problem that is registered for the constraint that an error of the database driver names, or None."""
    kind = Problem.by_constraint.get(getattr(getattr(cause, "diag", None), "constraint_name", None) or "")
    return kind() if kind else None


class MalformedBody(Problem):
    """The body is not JSON."""

    code = "malformed_body"
    default_detail = "The body is not valid JSON."


class BadCursor(Problem):
    """The cursor was made for another list, or is not genuine."""

    code = "bad_cursor"
    default_detail = "The cursor does not belong to this list; start again without a cursor."


class UnlistedHost(Problem):
    """``ALLOWED_HOSTS`` does not list the host of the request."""

    code = "unlisted_host"
    default_detail = "This host name is not allowed."


class Unauthenticated(Problem):
    """The request has no valid credentials."""

    status = HTTPStatus.UNAUTHORIZED
    code = "unauthenticated"
    default_detail = "Sign in first."
    challenge: ClassVar[str] = 'Bearer realm="campshub"'

    def __post_init__(self) -> None:
        """Add the WWW-Authenticate header (RFC 6750)."""
        super().__post_init__()
        self.headers.setdefault("WWW-Authenticate", self.challenge)


class InvalidToken(Unauthenticated):
    """The access token or API key is not valid."""

    default_detail = "The token is invalid."
    challenge = 'Bearer realm="campshub", error="invalid_token"'


class Forbidden(Problem):
    """The caller does not have the permission."""

    status = HTTPStatus.FORBIDDEN
    code = "forbidden"
    default_detail = "Your role does not allow this."


class TlsRequired(Forbidden):
    """A request with a secret or a change arrived without TLS."""

    code = "tls_required"
    default_detail = "This URL requires TLS. If the request contained a secret, it was sent unencrypted: replace it."


class NotFound(Problem):
    """The resource does not exist, or the caller may not see it."""

    status = HTTPStatus.NOT_FOUND
    code = "not_found"
    default_detail = "The resource does not exist, or you may not see it."


class MethodNotAllowed(Problem):
    """The resource does not support the method."""

    status = HTTPStatus.METHOD_NOT_ALLOWED
    code = "method_not_allowed"
    default_detail = "This URL does not support the method."


class Conflict(Problem):
    """The change conflicts with the current state."""

    status = HTTPStatus.CONFLICT
    code = "conflict"
    default_detail = "The change conflicts with the current state."


class IdTaken(Conflict):
    """The id chosen by the client is in use."""

    code = "id_taken"
    default_detail = "Another resource has this id."
    pointer = "/id"


class Deleted(Conflict):
    """The id belongs to a deleted row, which can be undeleted."""

    code = "deleted"
    default_detail = "The resource with this id is deleted; undelete it, or choose another id."
    pointer = "/id"


class KeyInFlight(Conflict):
    """Another request with the same Idempotency-Key is in progress."""

    code = "idempotency_key_in_flight"
    default_detail = "A request with this Idempotency-Key is in progress; retry shortly."


@dataclass(eq=False)
class MonthUnavailable(Conflict):
    """The request needs a month whose rows are not in the database: archived, or not created yet."""

    # Pairs of a table's tag and a month's first day, with which the restore of the months is requested.
    missing: set[tuple[str, date]] = field(default_factory=set)

    code = "month_unavailable"
    default_detail = "The rows of this month are not in the database; send the request again."


class PreconditionFailed(Problem):
    """If-Match names no current version."""

    status = HTTPStatus.PRECONDITION_FAILED
    code = "precondition_failed"
    default_detail = "The resource has changed since you read it."


class BodyTooLarge(Problem):
    """The body exceeds the endpoint's limit."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    code = "body_too_large"
    default_detail = "The body is larger than this endpoint accepts."


class UnsupportedMediaType(Problem):
    """The body's media type is not application/json."""

    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    code = "unsupported_media_type"
    default_detail = "Send the body as application/json."


class ContentEncoded(UnsupportedMediaType):
    """The body has a Content-Encoding."""

    default_detail = "Send the body without Content-Encoding."

    def __post_init__(self) -> None:
        """Add Accept-Encoding (RFC 9110, 12.5.3): no encoding is accepted."""
        super().__post_init__()
        self.headers.setdefault("Accept-Encoding", "identity")


class Invalid(Problem):
    """The request does not fit the endpoint's schema, or a value is not allowed."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY
    code = "validation"
    default_detail = "The request is invalid; see `errors`."

    @classmethod
    def at(cls, pointer: str, code: str, detail: str) -> "Invalid":
        """Return a problem with one error."""
        return cls(errors=[FieldError(pointer, code, detail)])

    @classmethod
    def of(cls, errors: Iterable[FieldError]) -> "Invalid":
        """Return a problem with several errors."""
        return cls(errors=list(errors))


class UnknownReference(Invalid):
    """A reference in the body names no existing row."""

    code = "unknown_reference"
    default_detail = "The body refers to something that does not exist."


class KeyReused(Problem):
    """The Idempotency-Key belongs to a different request."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY
    code = "idempotency_key_reused"
    default_detail = "This Idempotency-Key was used for a different request."


class RateLimited(Problem):
    """A rate limit is used up."""

    status = HTTPStatus.TOO_MANY_REQUESTS
    code = "rate_limited"
    default_detail = "Too many requests; retry after the time in Retry-After."


class Unexpected(Problem):
    """An unforeseen error in the server."""

    status = HTTPStatus.INTERNAL_SERVER_ERROR
    code = "unexpected"
    default_detail = "Unexpected server error; it was logged with the trace id."


class Unavailable(Problem):
    """The service is temporarily unavailable."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    code = "unavailable"
    default_detail = "Service unavailable; retry shortly."

    def __post_init__(self) -> None:
        """Add a Retry-After of one second, unless there is one."""
        super().__post_init__()
        self.headers.setdefault("Retry-After", "1")
