"""Writes of check-ins."""
