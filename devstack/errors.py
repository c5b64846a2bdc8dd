"""What can go wrong with the local stack."""


class StackError(Exception):
    """The stack cannot do what was asked; the message is one line for the person at the terminal."""
