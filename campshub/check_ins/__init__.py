"""Check-ins: events of kiosks, staff and the students' own apps, merged into the attendance records."""
