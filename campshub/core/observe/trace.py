"""What is at work: a request or a job, so that whatever is logged meanwhile tells of it."""

from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Trace:
    """A request: its rule, and the ids by which it is found again (``trace_id`` is that of W3C Trace Context)."""

    route: str
    trace_id: str
    request_id: str


at_work: ContextVar[Trace | None] = ContextVar("at_work", default=None)
