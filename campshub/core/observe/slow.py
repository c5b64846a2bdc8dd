"""Slow statements: each is told once, with where it was asked, and counted; never with a value that it was given."""

import logging
import re
import time

import click
from sqlalchemy import Engine, event
from sqlalchemy.engine import ExceptionContext

from campshub.core.observe.prometheus import Counter
from campshub.core.observe.trace import at_work

log = logging.getLogger(__name__)

MOST_LETTERS = 4_000
# Numbers as well as texts: both are what somebody was looking for.
_VALUE = re.compile(r"'(?:[^']|'')*'|(?<![\w.$])\d+(?:\.\d+)?\b")

statements = Counter("campshub_slow_sql_statements_total", "Statements that took longer than they may.", ["route"])


class SlowThreshold:
    """From how many seconds on a statement is slow; a class, since importers of a number would keep the old one."""

    seconds = 0.1


def init(milliseconds: int) -> None:
    """Set from how many milliseconds on a statement is slow."""
    SlowThreshold.seconds = milliseconds / 1000


def tell(text: str, seconds: float) -> None:
    """Log and count a statement that was slow."""
    place = _place()
    statements.labels(place).inc()
    log.warning(
        "slow statement",
        extra={"route": place, "milliseconds": round(seconds * 1000, 2), "statement": without_values(text)},
    )


def watch(engine: Engine) -> None:
    """Tell of an engine's slow statements that failed, too: the slowest are those that the server gave up."""

    @event.listens_for(engine, "handle_error")
    def failed(context: ExceptionContext) -> None:
        begun = getattr(context.execution_context, "campshub_begun", None)
        seconds = time.perf_counter() - begun if begun is not None else 0.0
        if context.statement is not None and seconds >= SlowThreshold.seconds:
            tell(context.statement, seconds)


def without_values(text: str) -> str:
    """Return a statement's text on one line, with a question mark for each value that is written into it."""
    return " ".join(_VALUE.sub("?", text).split())[:MOST_LETTERS]


def _place() -> str:
    """Return the rule of the address that is being answered, or the name of the command that runs."""
    trace = at_work.get()
    if trace is not None:
        return trace.route
    command = click.get_current_context(silent=True)
    return command.command_path if command else "unknown"
