"""Writes of exercises and workout logs."""
