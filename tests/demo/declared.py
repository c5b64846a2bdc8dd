"""What the tests of all modules need from the demo: nothing, since it has commands only."""

from tests.declared import Declared

DECLARED = Declared()
