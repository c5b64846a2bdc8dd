"""Writes of students, groups and enrolments."""
