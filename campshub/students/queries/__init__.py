"""Reads of students and groups."""
