"""Reads of change feeds."""
