"""The local stack: real PostgreSQL, PgBouncer, Redis, nginx and API processes on a developer's machine.

``make run``, ``make stack``, the tests and the benchmarks start their parts with it. The application never imports it.
"""

from devstack.errors import StackError
from devstack.stack import Stack

__all__ = ["Stack", "StackError"]
