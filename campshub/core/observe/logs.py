"""Logs: one JSON object per line on standard output, with the request's ids; never personal data or secrets.

The code that logs never passes such data. The message of an exception may quote input (PostgreSQL quotes the values of
a row that it refuses). So the log contains the classes, the code locations and the SQLSTATE of an exception, and the
message only for classes whose messages are about code.
"""

import logging
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import click
import orjson

from campshub.config import SettingsError
from campshub.core.observe.trace import current_trace

# The fields of every record; all others come from ``extra``.
_STANDARD_FIELDS = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
# The messages of these exceptions name attributes, types and rules, not values.
_ABOUT_CODE = (AttributeError, AssertionError, ImportError, NameError, RuntimeError, TypeError, SettingsError)


_REQUEST_LOGGER = "campshub.requests"
_TEMPLATE = logging.makeLogRecord(
    {"name": _REQUEST_LOGGER, "levelno": logging.INFO, "levelname": "INFO", "msg": "request"}
)


class _FormattedRecord(logging.LogRecord):
    """A record whose line is already formatted: creating a normal record would take longer than writing the line."""

    line: bytes

    def __init__(self, line: bytes) -> None:
        self.__dict__.update(_TEMPLATE.__dict__, created=time.time(), line=line)


class RequestLog:
    """The request log, one line per request."""

    def __init__(self) -> None:
        self._log = logging.getLogger(_REQUEST_LOGGER)

    def write(
        self, method: str, route: str, status: int, seconds: float, address: str | None, about: Mapping[str, Any]
    ) -> None:
        """Write the line of a request; ``about`` has its ids, the caller and the problem code, as far as known."""
        if not self._log.isEnabledFor(logging.INFO):
            return
        line = {
            "at": datetime.now(UTC),
            "level": "INFO",
            "logger": _REQUEST_LOGGER,
            "message": "request",
            "trace_id": about.get("trace_id"),
            "request_id": about.get("request_id"),
            "method": method,
            "route": route,
            "status": status,
            "milliseconds": round(seconds * 1000, 2),
            "user_id": about.get("user_id"),
            "api_key_id": about.get("api_key_id"),
            "organization_id": about.get("organization_id"),
            "problem": about.get("problem"),
            "address": address,
        }
        self._log.callHandlers(_FormattedRecord(orjson.dumps(line, option=orjson.OPT_UTC_Z)))


class JsonLines(logging.Formatter):
    """Formats a record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; the fields of ``extra`` are added to it."""
        if isinstance(record, _FormattedRecord):
            return record.line.decode()
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        trace = current_trace.get()
        if trace is not None:
            line["trace_id"], line["request_id"] = trace.trace_id, trace.request_id
        line.update({key: value for key, value in record.__dict__.items() if key not in _STANDARD_FIELDS})
        if record.exc_info and record.exc_info[1] is not None:
            line["exception"] = [_exception_fields(error) for error in _chain(record.exc_info[1])]
        return orjson.dumps(line, default=str, option=orjson.OPT_UTC_Z).decode()


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and its causes."""
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _exception_fields(error: BaseException) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "kind": type(error).__qualname__,
        "at": [f"{f.filename}:{f.lineno} {f.name}" for f in traceback.extract_tb(error.__traceback__)],
    }
    if getattr(error, "sqlstate", None):
        fields["sqlstate"] = error.sqlstate  # type: ignore[attr-defined] # psycopg's
    if isinstance(error, _ABOUT_CODE):
        fields["says"] = str(error)
    return fields


def init(level: str) -> None:
    """Send the logs to standard output; those of a command to standard error, where its output is not."""
    logger = logging.getLogger("campshub")
    logger.setLevel(level)
    logger.propagate = False
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stderr if click.get_current_context(silent=True) else sys.stdout)
        handler.setFormatter(JsonLines())
        logger.addHandler(handler)
