"""The benchmark suite: every figure of the documentation, printed by one command."""
