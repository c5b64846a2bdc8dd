"""Calendars, weekly schedules of groups, and the sessions that are created from them."""
