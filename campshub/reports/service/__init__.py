"""Asking for reports, making them, sending them, and letting them go."""
