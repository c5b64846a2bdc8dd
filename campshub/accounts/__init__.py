"""Organizations, users, memberships and sign-in."""
