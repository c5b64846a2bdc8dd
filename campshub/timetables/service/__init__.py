"""Writes of calendars and schedules, and the creation of sessions."""
