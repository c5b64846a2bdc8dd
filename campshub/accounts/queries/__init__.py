"""Reads of organizations, users, and what signing in must know."""
