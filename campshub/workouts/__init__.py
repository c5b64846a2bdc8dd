"""Muscles, exercises and workout logs."""
