"""The error of the local stack."""


class StackError(Exception):
    """The stack cannot do what was requested; the message is one line for the terminal."""
