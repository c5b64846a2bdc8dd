"""Writes of organizations, users and sign-ins."""
