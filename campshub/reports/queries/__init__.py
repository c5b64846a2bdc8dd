"""Reads of reports and their schedules."""
