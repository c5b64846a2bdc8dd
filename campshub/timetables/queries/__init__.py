"""Reads of calendars, schedules and timetables."""
