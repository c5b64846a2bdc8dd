"""The current request or job, so that each log line contains its ids."""

from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Trace:
    """A request or job: its route, and its ids (``trace_id`` is that of W3C Trace Context)."""

    route: str
    trace_id: str
    request_id: str


current_trace: ContextVar[Trace | None] = ContextVar("current_trace", default=None)
