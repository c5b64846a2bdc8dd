"""Slow statements: log each one with its route, and count it; never log values."""

import logging
import re
import time

import click
from sqlalchemy import Engine, event
from sqlalchemy.engine import ExceptionContext

from campshub.core.observe.prometheus import Counter
from campshub.core.observe.trace import current_trace

log = logging.getLogger(__name__)

MOST_CHARACTERS = 4_000
# String and number literals: both may be what a user has searched for.
_VALUE = re.compile(r"'(?:[^']|'')*'|(?<![\w.$])\d+(?:\.\d+)?\b")

statements = Counter("campshub_slow_sql_statements_total", "Statements that were slower than the threshold.", ["route"])


class SlowThreshold:
    """The time in seconds from which a statement is slow; a class, so that importers see changes of the value."""

    seconds = 0.1


def init(milliseconds: int) -> None:
    """Set the time in milliseconds from which a statement is slow."""
    SlowThreshold.seconds = milliseconds / 1000


def log_statement(text: str, seconds: float) -> None:
    """Log and count a slow statement."""
    route = _route()
    statements.labels(route).inc()
    log.warning(
        "slow statement",
        extra={"route": route, "milliseconds": round(seconds * 1000, 2), "statement": without_values(text)},
    )


def watch(engine: Engine) -> None:
    """Also log an engine's slow statements that failed: the slowest are those that the server cancelled."""

    @event.listens_for(engine, "handle_error")
    def failed(context: ExceptionContext) -> None:
        begun = getattr(context.execution_context, "campshub_begun", None)
        seconds = time.perf_counter() - begun if begun is not None else 0.0
        if context.statement is not None and seconds >= SlowThreshold.seconds:
            log_statement(context.statement, seconds)


def without_values(text: str) -> str:
    """Return a statement on one line, with a question mark instead of each literal."""
    return " ".join(_VALUE.sub("?", text).split())[:MOST_CHARACTERS]


def _route() -> str:
    """Return the route of the current request or job, or the name of the running command."""
    trace = current_trace.get()
    if trace is not None:
        return trace.route
    command = click.get_current_context(silent=True)
    return command.command_path if command else "unknown"
