"""Aggregates in tables of their own: their definition, and their refresh."""
