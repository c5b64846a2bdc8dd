"""The benchmark suite: one command prints every figure of the documentation."""
