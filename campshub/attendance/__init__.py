"""Attendance sessions, registers and marks."""
