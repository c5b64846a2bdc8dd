"""What the tests of all modules need from operations: it has commands, jobs and alerts, and no URLs."""

from tests.declared import Declared

DECLARED = Declared(unstamped=frozenset({"alerts"}))
