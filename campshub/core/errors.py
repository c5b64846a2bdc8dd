"""Refusals: each is a class with a status and a stable code, next to what raises it (RFC 9457).

Knows no Flask, so that services can raise them; ``errors`` turns them into answers.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from http import HTTPStatus
from typing import Any, ClassVar

# RFC 9110 renamed these after Python 3.11.
_TITLES = {413: "Content Too Large", 414: "URI Too Long", 422: "Unprocessable Content"}


def title(status: int) -> str:
    """Return a status's phrase in the words of RFC 9110."""
    return _TITLES.get(int(status)) or HTTPStatus(status).phrase


@dataclass(frozen=True)
class FieldError:
    """What is wrong with one place of the request, named by a JSON pointer."""

    pointer: str
    code: str
    detail: str


@dataclass(eq=False)
class Problem(Exception):
    """A refusal that the client is told about.

    A subclass with ``constraint`` also stands for the violation of that database constraint.
    """

    detail: str = ""
    errors: list[FieldError] = field(default_factory=list)
    present: Any = None
    headers: dict[str, str] = field(default_factory=dict)

    status: ClassVar[int] = HTTPStatus.BAD_REQUEST
    code: ClassVar[str] = "bad_request"
    constraint: ClassVar[str | None] = None
    pointer: ClassVar[str | None] = None
    by_constraint: ClassVar[dict[str, type["Problem"]]] = {}

    def __init_subclass__(cls) -> None:
        """Note which constraint the problem stands for."""
        if "constraint" in cls.__dict__ and cls.constraint:
            Problem.by_constraint[cls.constraint] = cls

    def __post_init__(self) -> None:
        """Take the class's own sentence where the raiser gave none."""
        self.detail = self.detail or (type(self).__doc__ or "").strip().partition("\n")[0]
        if self.pointer is not None and not self.errors:
            self.errors = [FieldError(self.pointer, self.code, self.detail)]

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"

    def document(self, *, instance: str, trace_id: str) -> dict[str, Any]:
        """Return the problem document, without what is empty."""
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


class MalformedBody(Problem):
    """The body is not readable JSON."""

    code = "malformed_body"


class BadCursor(Problem):
    """The cursor does not belong to this list; start again without it."""

    code = "bad_cursor"


class UnlistedHost(Problem):
    """This host name is not served here."""

    code = "unlisted_host"


class Unauthenticated(Problem):
    """Sign in first."""

    status = HTTPStatus.UNAUTHORIZED
    code = "unauthenticated"
    challenge: ClassVar[str] = 'Bearer realm="campshub"'

    def __post_init__(self) -> None:
        """Say how to sign in (RFC 6750)."""
        super().__post_init__()
        self.headers.setdefault("WWW-Authenticate", self.challenge)


class InvalidToken(Unauthenticated):
    """The token that came with the request does not work."""

    challenge = 'Bearer realm="campshub", error="invalid_token"'


class Forbidden(Problem):
    """Your role does not allow this."""

    status = HTTPStatus.FORBIDDEN
    code = "forbidden"


class TlsRequired(Forbidden):
    """This address is served over TLS alone; a secret that was sent just now has been readable on the way."""

    code = "tls_required"


class NotFound(Problem):
    """There is nothing here that you may see."""

    status = HTTPStatus.NOT_FOUND
    code = "not_found"


class MethodNotAllowed(Problem):
    """This address does not know the method."""

    status = HTTPStatus.METHOD_NOT_ALLOWED
    code = "method_not_allowed"


class Conflict(Problem):
    """The change does not fit what is there now."""

    status = HTTPStatus.CONFLICT
    code = "conflict"


class IdTaken(Conflict):
    """This id belongs to something else already."""

    code = "id_taken"
    pointer = "/id"


class Deleted(Conflict):
    """What this id belongs to is deleted; undelete it, or choose another id."""

    code = "deleted"
    pointer = "/id"


class KeyInFlight(Conflict):
    """A request with this Idempotency-Key is being worked on; ask again in a moment."""

    code = "idempotency_key_in_flight"


@dataclass(eq=False)
class MonthUnavailable(Conflict):
    """The rows of this month are not in the database; send the request again."""

    # The months that the write needs, by their first days, with their tables' tags; so that they can be requested.
    missing: set[tuple[str, date]] = field(default_factory=set)

    code = "month_unavailable"


class PreconditionFailed(Problem):
    """It has changed since you read it."""

    status = HTTPStatus.PRECONDITION_FAILED
    code = "precondition_failed"


class BodyTooLarge(Problem):
    """The body is larger than this address takes."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    code = "body_too_large"


class UnsupportedMediaType(Problem):
    """Send the body as application/json."""

    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    code = "unsupported_media_type"


class ContentEncoded(UnsupportedMediaType):
    """Send the body without Content-Encoding."""

    def __post_init__(self) -> None:
        """Name the encodings that are taken (RFC 9110, 12.5.3): none."""
        super().__post_init__()
        self.headers.setdefault("Accept-Encoding", "identity")


class Invalid(Problem):
    """The request does not fit the address's schema."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY
    code = "validation"

    @classmethod
    def at(cls, pointer: str, code: str, detail: str) -> "Invalid":
        """Return the refusal of one place."""
        return cls(errors=[FieldError(pointer, code, detail)])

    @classmethod
    def of(cls, errors: Iterable[FieldError]) -> "Invalid":
        """Return the refusal of several places."""
        return cls(errors=list(errors))


class UnknownReference(Invalid):
    """The body names something that is not there."""

    code = "unknown_reference"


class KeyReused(Problem):
    """This Idempotency-Key was used for another request."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY
    code = "idempotency_key_reused"


class RateLimited(Problem):
    """A limit is used up; Retry-After says when to come back."""

    status = HTTPStatus.TOO_MANY_REQUESTS
    code = "rate_limited"


class Unexpected(Problem):
    """Something broke on our side; it has been recorded under the trace id."""

    status = HTTPStatus.INTERNAL_SERVER_ERROR
    code = "unexpected"


class Unavailable(Problem):
    """Not now; try again in a moment."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    code = "unavailable"

    def __post_init__(self) -> None:
        """Say when to come back."""
        super().__post_init__()
        self.headers.setdefault("Retry-After", "1")
