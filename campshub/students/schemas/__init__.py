"""What the addresses of students and groups take and show."""
