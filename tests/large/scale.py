"""The size of the large data, for the exceptions that modules declare."""

ORGANIZATION = 100_000  # students of the largest organization
