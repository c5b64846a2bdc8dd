"""What the tests of all modules need from analytics."""

from tests.declared import Declared

DECLARED = Declared()
