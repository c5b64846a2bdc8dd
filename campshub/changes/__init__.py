"""Change feeds: what was created, changed or deleted since a token, for clients that keep a copy."""
