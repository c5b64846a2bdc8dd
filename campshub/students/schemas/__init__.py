"""The request and response schemas of students and groups."""
