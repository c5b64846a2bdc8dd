"""Render every error as a problem document (RFC 9457); log unexpected errors and hide their details from the client."""

import logging
from typing import Any

import psycopg
from flask import Flask, Response, g, request
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm.exc import StaleDataError
from werkzeug.exceptions import HTTPException

from campshub.core import errors
from campshub.core.db.session import ReplicaBehind, is_gone
from campshub.core.errors import Problem
from campshub.core.freshness.replicas import SpillFull
from campshub.core.json import write

log = logging.getLogger(__name__)

PROBLEM_JSON = "application/problem+json"
_BY_STATUS: dict[int, type[Problem]] = {
    400: Problem,
    404: errors.NotFound,
    405: errors.MethodNotAllowed,
    413: errors.BodyTooLarge,
    415: errors.UnsupportedMediaType,
    429: errors.RateLimited,
}
# SQLSTATEs of temporary errors, after which the request may be sent again. A standby that is used as the primary
# reports 55000.
_TEMPORARY = frozenset(
    {"40001", "40P01", "55000", "55P03", "57014", "57P05", "25P03", "25P04", "53100", "53200", "53300"}
)


class ChangedMeanwhile(errors.Conflict):
    """A concurrent request changed the same row."""

    code = "changed_meanwhile"
    default_detail = "A concurrent request changed the same resource; read it again."


class MonthMissing(errors.Unavailable):
    """The table of the current month does not exist."""

    code = "month_missing"
    default_detail = "The partition of the current month is missing; the operators have been alerted."


class InUse(errors.Conflict):
    """A row to be deleted is still referenced."""

    code = "in_use"
    default_detail = "Other resources still refer to this one."


def init_app(app: Flask) -> None:
    """Register the handlers of all errors."""
    app.register_error_handler(Problem, render)
    app.register_error_handler(HTTPException, lambda error: render(_of_http(error)))
    app.register_error_handler(
        PoolTimeout, lambda _: render(errors.Unavailable("All database connections are in use; retry shortly."))
    )
    app.register_error_handler(
        SpillFull, lambda _: render(errors.Unavailable("The replicas are unavailable or behind; retry shortly."))
    )
    app.register_error_handler(
        ReplicaBehind, lambda _: render(errors.Unavailable("The primary database is unavailable; retry shortly."))
    )
    app.register_error_handler(StaleDataError, lambda _: render(ChangedMeanwhile()))
    app.register_error_handler(DBAPIError, lambda error: render(_of_database(error)))
    app.register_error_handler(Exception, _unexpected)


def render(problem: Problem) -> Response:
    """Return the response with the problem document."""
    document = problem.document(instance=request.path, trace_id=g.get("trace_id", ""))
    g.problem = problem.code
    return Response(write(document), status=int(problem.status), headers=problem.headers, mimetype=PROBLEM_JSON)


def _of_http(error: HTTPException) -> Problem:
    if error.code is not None and error.code >= 500:  # noqa: PLR2004 - server errors
        return errors.Unexpected()
    problem = _BY_STATUS.get(error.code or 400, Problem)()
    if isinstance(problem, errors.NotFound):
        problem.detail = "This URL does not exist."
    if isinstance(problem, errors.MethodNotAllowed):
        problem.headers["Allow"] = ", ".join(getattr(error, "valid_methods", None) or ())
    if type(problem) is Problem and error.description:
        problem.detail = error.description
    return problem


def _of_database(error: DBAPIError) -> Problem:
    """Return the problem for a database error: of a constraint, temporary, or unexpected."""
    state = getattr(error.orig, "sqlstate", None)
    if isinstance(error, IntegrityError):
        return _of_constraint(error.orig)
    if isinstance(error, DataError):
        log.warning("the database rejected a value that the schemas accepted: %s", state)
        return errors.Invalid("A value is out of range.")
    if state in _TEMPORARY or is_gone(error):
        log.warning("the database is unavailable: %s %s", state, type(error.orig).__name__)
        return errors.Unavailable()
    log.error("the database rejected a statement", exc_info=error)
    return errors.Unexpected()


def _of_constraint(cause: Any) -> Problem:
    """Return the problem that is registered for a constraint, else a general one for its type."""
    if (registered := errors.problem_of_constraint(cause)) is not None:
        return registered
    name: str | None = cause.diag.constraint_name
    if isinstance(cause, psycopg.errors.ForeignKeyViolation):
        is_referenced = "still referenced" in (cause.diag.message_detail or "")
        return InUse() if is_referenced else errors.UnknownReference()
    if isinstance(cause, psycopg.errors.CheckViolation) and name is None:
        log.error("a partition is missing: %s", cause.diag.message_primary)
        return MonthMissing()
    if isinstance(cause, psycopg.errors.UniqueViolation):
        return errors.Conflict()
    log.warning("a constraint rejected a value that the schemas accepted: %s", name)
    return errors.Invalid("A value is not allowed.")


def _unexpected(error: Exception) -> Response:
    log.error("unexpected error", exc_info=error)
    return render(errors.Unexpected())
