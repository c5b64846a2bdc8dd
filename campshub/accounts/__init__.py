"""Organizations, users, memberships, and signing in."""
