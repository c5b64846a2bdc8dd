"""Muscles, exercises, and what was trained."""
