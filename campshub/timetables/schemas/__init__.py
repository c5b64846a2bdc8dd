"""The request and response schemas of calendars and timetables."""
