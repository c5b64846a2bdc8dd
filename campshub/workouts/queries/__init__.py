"""Reads of exercises and workout logs."""
